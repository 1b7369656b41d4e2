"""What comes after pytest, and around it: ``certload report``, ``history``, ``compare``, ``ladder``.

Exit codes: 0; 1 when a run is worse than it may be, a page is not as it would be written, or a rung has no
figures; 2 when what was asked for cannot be done. What is heavy to import is imported by the command that needs it.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_certload.errors import BaselineError, CertloadError, ReportError

if TYPE_CHECKING:
    from pytest_certload.baselines.baseline import Baseline
    from pytest_certload.baselines.store import Store
    from pytest_certload.report.record import RunRecord

__all__ = ["main"]

_UNDECIDED = ("warn", "fail", "pass")
_WRONG = 2
_INTERRUPTED = 128 + signal.SIGINT


def main(words: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    words = list(sys.argv[1:] if words is None else words)
    # What stands behind -- is pytest's; argparse would look for options among it.
    pytest_words = None
    if words[:1] == ["ladder"] and "--" in words:
        cut = words.index("--")
        words, pytest_words = words[:cut], words[cut + 1 :]
    arguments = _read(words)
    arguments.pytest_words = pytest_words
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A plot's characters are not in every encoding.
        sys.stdout.reconfigure(errors="replace")
    try:
        code: int = arguments.command(arguments)
        sys.stdout.flush()
    except CertloadError as error:
        print(f"certload: {error}", file=sys.stderr)
        return _WRONG
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):
            print("certload: interrupted", file=sys.stderr)
        return _INTERRUPTED
    except OSError as error:
        if error.filename is None:
            # Of standard output; the interpreter must not find out once more at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            # Whoever read has seen enough.
            return 0
        print(f"certload: {error.filename or 'output'}: {error.strerror or error}", file=sys.stderr)
        return _WRONG
    return code


def _read(words: Sequence[str]) -> argparse.Namespace:
    parser = _parser()
    arguments, rest = parser.parse_known_args(words)
    # Limits that stand behind an option: argparse has seen their end before it.
    if rest and hasattr(arguments, "limits") and not any(word.startswith("-") for word in rest):
        arguments.limits += rest
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="certload", description="What comes after a load test.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    report = commands.add_parser("report", help="write an HTML report of runs")
    report.add_argument(
        "results", nargs="+", type=Path, help="summary-*.json, or folders that hold some"
    )
    report.add_argument(
        "-o", "--output", type=Path, default=Path("report.html"), help="default: report.html"
    )
    report.set_defaults(command=_report)

    history = commands.add_parser("history", help="show what was saved as a baseline, run by run")
    history.add_argument("name", help="the baseline's")
    history.add_argument("--scenario", help="this one only")
    history.add_argument("--step", help="its figures, instead of whole iterations'")
    history.add_argument(
        "--figure", choices=("p50", "p90", "p95", "p99"), default="p95",
        help="what is plotted (default: p95)",
    )  # fmt: skip
    history.add_argument("--json", action="store_true", help="all that is stored, for programs")
    _add_folder(history)
    history.set_defaults(command=_history)

    compare = commands.add_parser("compare", help="compare two runs, or a run with a baseline")
    one = "a summary-*.json, a folder of them, a baseline's file, or a baseline's name"
    compare.add_argument("before", metavar="A", help=one)
    compare.add_argument("after", metavar="B", help="the same; what it is held to A")
    compare.add_argument(
        "limits", metavar="LIMIT", nargs="*", help="such as p95:10%%, login.p99:50ms, errors:0.1%%"
    )
    compare.add_argument(
        "--anyway", action="store_true", help="also another machine, stack or load"
    )
    compare.add_argument(
        "--undecided", choices=_UNDECIDED, default="warn",
        help="what becomes of a limit that the samples cannot decide (default: warn)",
    )  # fmt: skip
    compare.add_argument("--json", action="store_true", help="the comparison, for programs")
    _add_folder(compare)
    compare.set_defaults(command=_compare)

    table = commands.add_parser("baseline-table", help="all baselines as a table in Markdown")
    target = table.add_mutually_exclusive_group()
    target.add_argument("--write", type=Path, metavar="PAGE", help="put it into this page")
    target.add_argument(
        "--check", type=Path, metavar="PAGE", help="exit with 1 when the page has another one"
    )
    _add_folder(table)
    table.set_defaults(command=_table)

    ladder = commands.add_parser(
        "ladder",
        help="run load tests with one stack's settings after the other, and tell what each buys",
        usage="certload ladder [-h] [--results DIR] [--page PAGE] [--resume] RUNGS [-- PYTEST …]",
        epilog="Behind -- stands what pytest is told; default: -m scale.",
    )
    ladder.add_argument("rungs", metavar="RUNGS", type=Path, help="a TOML file (docs/ladders.md)")
    ladder.add_argument(
        "--results", type=Path, default=Path("results/ladder"), metavar="DIR",
        help="for ladder.json, ladder.md and a folder a rung (default: results/ladder)",
    )  # fmt: skip
    ladder.add_argument("--page", type=Path, help="write the page here, too")
    ladder.add_argument(
        "--resume", action="store_true", help="run only the rungs that --results has no figures of"
    )
    ladder.set_defaults(command=_ladder)
    return parser


def _add_folder(parser: argparse.ArgumentParser) -> None:
    default = os.environ.get("CERTLOAD_BASELINES") or ".certload/baselines"
    parser.add_argument(
        "--baselines", type=Path, default=Path(default), metavar="DIR",
        help="folder of the baselines (default: CERTLOAD_BASELINES, else .certload/baselines)",
    )  # fmt: skip


def _report(arguments: argparse.Namespace) -> int:
    records = [record for path in arguments.results for record in _records(path)]
    html = import_module("pytest_certload.report.html")
    html.write_report(records, arguments.output, option="--output")
    print(arguments.output)
    return 0


def _history(arguments: argparse.Namespace) -> int:
    from pytest_certload.baselines.history import history_lines

    store = _store(arguments)
    found = store.histories(arguments.name)
    if arguments.scenario is not None:
        known = ", ".join(sorted({history.scenario for history in found}))
        found = [history for history in found if history.scenario == arguments.scenario]
        if not found:
            raise BaselineError(
                f"baseline {arguments.name} has no scenario {arguments.scenario}, but {known}"
            )
    if arguments.step is not None:
        # A step is of some scenarios only.
        having = [h for h in found if any(run.part(arguments.step) for run in h.saved)]
        found = having or found
    if arguments.json:
        _print_json([history.to_dict() for history in found])
        return 0
    for number, history in enumerate(found):
        if number:
            print()
        print("\n".join(history_lines(history, figure=arguments.figure, step=arguments.step)))
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    from dataclasses import asdict

    from pytest_certload.baselines.comparison import breaches, compare, require_whole
    from pytest_certload.baselines.limits import parse_limit
    from pytest_certload.report.terminal import comparison_lines

    limits = [parse_limit(text) for text in arguments.limits]
    before, after = (_runs(one, arguments) for one in (arguments.before, arguments.after))
    common = [name for name in after if name in before]
    if not common:
        raise BaselineError(
            f"{arguments.before} has scenarios {', '.join(before)} and {arguments.after} has "
            f"{', '.join(after)}: there is nothing to compare"
        )
    for limit in limits:
        if not any(_has(run[name], limit.step) for name in common for run in (before, after)):
            raise BaselineError(f"{limit.text!r}: no scenario has a step {limit.step}")
    for name in common:
        require_whole(after[name], before[name], name=arguments.before)
    found = {
        name: compare(
            after[name],
            before[name],
            name=arguments.before,
            limits=limits,
            undecided=arguments.undecided,
            anyway=arguments.anyway,
        )
        for name in common
    }
    worse = [
        f"{name}: {breach}" for name, comparison in found.items() for breach in breaches(comparison)
    ]
    alone = sorted(before.keys() ^ after.keys())
    # A run that a limit is held to, and that is not there, has not been held to it.
    missing = [name for name in alone if name in before and limits]
    worse += [
        f"{name}: not in {arguments.after}, so that no limit was held to it" for name in missing
    ]
    if arguments.json:
        compared = {name: asdict(comparison) for name, comparison in found.items()}
        _print_json({**compared, **dict.fromkeys(alone)})
        return 1 if worse else 0
    for name, comparison in found.items():
        # An old file in a folder is as good as a new one to who reads it here: its date is told.
        print(f"{name}, {arguments.after}, measured {after[name].measured_at[:19]}:")
        unicode = "utf" in (sys.stdout.encoding or "").lower()
        print("\n".join(f"  {line}" for line in comparison_lines(comparison, unicode=unicode)))
    for name in alone:
        print(f"{name}: only in {arguments.before if name in before else arguments.after}")
    for text in worse:
        print(f"worse: {text}")
    return 1 if worse else 0


def _has(run: Baseline, step: str | None) -> bool:
    return run.part(step) is not None


def _table(arguments: argparse.Namespace) -> int:
    from pytest_certload.baselines.table import baseline_table, put_into, write_into

    table = baseline_table(_store(arguments).histories())
    if arguments.write is not None:
        changed = write_into(arguments.write, table)
        print(f"{arguments.write}: {'written' if changed else 'as it was'}")
    elif arguments.check is not None:
        page = _text(arguments.check)
        if put_into(page, table) != page:
            print(
                f"{arguments.check}: not what the baselines say; run certload baseline-table --write"
            )
            return 1
    else:
        print(table)
    return 0


def _ladder(arguments: argparse.Namespace) -> int:
    from pytest_certload.ladder.climb import DEFAULT
    from pytest_certload.ladder.run import run_ladder
    from pytest_certload.ladder.rungs import read_rungs

    words = arguments.pytest_words
    rungs = read_rungs(arguments.rungs)
    # As Ctrl-C: the session of a rung must not go on by itself. A hang-up may be ignored on purpose (nohup);
    # Ctrl-C is, of what a script puts into the background, but the session must hear of it from us.
    before = {
        number: signal.signal(number, signal.default_int_handler)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        return run_ladder(
            rungs,
            list(DEFAULT) if words is None else words,
            results=arguments.results,
            page=arguments.page,
            resume=arguments.resume,
            say=lambda text: print(text, flush=True),
        )
    except KeyboardInterrupt:
        # After a hang-up there is nobody to tell.
        with contextlib.suppress(OSError):
            print(
                f"{arguments.results}: rungs that ended are kept; --resume goes on after them",
                flush=True,
            )
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _store(arguments: argparse.Namespace) -> Store:
    from pytest_certload.baselines.store import Store

    return Store(folder=arguments.baselines)


def _runs(one: str, arguments: argparse.Namespace) -> dict[str, Baseline]:
    """The runs that a word of the command line means, by their scenarios."""
    from pytest_certload.baselines.baseline import from_record
    from pytest_certload.baselines.machine import this_machine
    from pytest_certload.baselines.store import read_history

    path = Path(one)
    if path.is_dir() or (path.exists() and "schema_version" in _document(path)):
        return {record.scenario: from_record(record) for record in _records(path)}
    if path.exists():
        history = read_history(path)
        return {history.scenario: history.latest}
    if path.suffix == ".json" or len(path.parts) > 1:
        raise ReportError(f"{one}: there is no such file or folder")
    # Those of this machine come last, and so win over others'.
    here = this_machine()
    found = _store(arguments).histories(one)
    found.sort(key=lambda history: (history.machine == here, history.latest.saved_at))
    return {history.scenario: history.latest for history in found}


def _records(path: Path) -> Iterator[RunRecord]:
    """The runs of a summary, or of all summaries in a folder.

    Raises:
        ReportError: There is none, or it cannot be read; the message names the file and the reason.
    """
    from pytest_certload.report.record import RunRecord

    files = sorted(path.glob("summary-*.json")) if path.is_dir() else [path]
    if not files:
        raise ReportError(
            f"{path}: the folder holds no summary-*.json; name one of --certload-results"
        )
    for file in files:
        document = _document(file)
        try:
            yield RunRecord.from_dict(document)
        except ReportError as error:
            raise ReportError(f"{file}: {error}") from error


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(_text(path))
    except ValueError as error:
        raise ReportError(f"{path} is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise ReportError(f"{path} is no summary of a run, and no baseline")
    return document


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise ReportError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ReportError(f"{path} is not UTF-8: {error}") from error


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=1, ensure_ascii=False))
