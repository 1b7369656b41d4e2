"""Does the report say what it must, to whoever reads it, and nothing that it should not?"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_certload.errors import ReportError
from pytest_certload.report.html import page, write_report
from pytest_certload.report.html.judged import comparison
from pytest_certload.report.html.markup import element, text
from pytest_certload.report.html.plots import RunPlots
from pytest_certload.report.markdown import markdown_text
from pytest_certload.report.record import RunRecord, window_begin
from tests.html.samples import a_run, hostile, missed, never_began, without_samples
from tests.unit.test_report import records

POISON = "</script></style><img src=x onerror=alert(1)>\"'&amp;<b>"


class Reader(HTMLParser):
    """What a browser would find in a page: elements with their attributes, and the text."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(source)
        self.close()
        assert self.open == [], "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def read(records: Sequence[RunRecord]) -> Reader:
    return Reader(page(records))


ALL = {
    "passed": [a_run()],
    "failed": [a_run("calm"), missed()],
    "sketched": [without_samples()],
    "interrupted": [never_began()],
    "none": [],
    "many steps": [a_run(steps=300)],
    "many runs": [a_run(f"run-{number}", seconds=30) for number in range(12)],
    "short": [a_run(seconds=1)],
}
every = pytest.mark.parametrize("records", ALL.values(), ids=ALL.keys())


class TestTheVerdict:
    @pytest.mark.parametrize(
        ("records", "headline"),
        [
            ([], "No load was made"),
            ([a_run()], "The load passed"),
            ([missed()], "The load failed"),
            ([never_began()], "The load was interrupted"),
            ([a_run(), a_run()], "All 2 loads passed"),
            ([a_run(), missed(), missed()], "2 of 3 loads failed"),
            ([a_run(), never_began()], "1 of 2 loads interrupted"),
            ([missed(), never_began()], "1 of 2 loads failed"),
        ],
    )
    def test_stands_first(self, records: list[RunRecord], headline: str) -> None:
        source = page(records)
        assert f"<h1>{headline}</h1>" in source
        assert f"<title>{headline} · Load tests</title>" in source

    def test_says_what_broke_by_how_much_and_whether_it_is_noise(self) -> None:
        said = read([missed()]).text
        broke = said[said.index("The load failed", 50) :]
        for words in (
            "response time p95 812 ms, wanted < 500 ms",
            "missed by 312 ms, 62%; 95 % sure: 790 – 834 ms; beyond noise",
            "response time p95 is higher by 12.5 % than baseline main, held to p95:10%",
        ):
            assert words in broke[:700]

    def test_says_that_a_miss_may_be_noise(self) -> None:
        threshold = missed().thresholds[0]
        doubtful = missed(thresholds=(type(threshold)(**{**vars(threshold), "decided": False}),))
        said = read([doubtful]).text
        assert "may be noise: so few samples do not decide" in said
        assert "beyond noise" not in said

    def test_without_a_threshold_says_why_the_test_failed(self) -> None:
        failed = a_run(state="failed", failure="StackDied: the server is gone")
        assert "storm: StackDied: the server is gone" in read([failed]).text

    def test_names_what_makes_it_less_sure(self) -> None:
        said = read([missed(), without_samples()]).text
        for doubt in (
            "the generator was disturbed: the host gave 12% of its CPU time to others",
            "passed, but so few samples do not decide it: response time p99 of step-0 < 1 s",
            "the warm-up was too short: response times were still coming down for 12.5 s",
            "reduced, not the full contract: duration 5m instead of 1h",
            "the baseline ran elsewhere: stack: docker, and embedded then",
            "percentiles are within ±0.1 %",
        ):
            assert doubt in said

    def test_what_is_so_for_all_runs_is_said_once(self) -> None:
        said = read([a_run("a", reduced=("vus 3",)), a_run("b", reduced=("vus 3",))]).text
        assert said.count("reduced, not the full contract: vus 3") == 1
        assert "all runs: reduced" in said

    def test_a_run_without_any_doubt_names_none(self) -> None:
        assert "Before you rely on it" not in read([a_run()]).text


class TestARun:
    def test_tells_all_that_is_known(self) -> None:
        said = read([missed()]).text
        for words in (
            "constant arrival rate: offered 167/s, achieved 167/s for 5m.",
            "162 % of the limit",
            "no answer within 30 s",
            "Traceback: a line",
            "renewal jobs",
            "job-1 (iteration 7, acknowledged 0.2 s into the load)",
            "not within 10 s; row 7 comes twice",
            "UPDATE agents SET …",
            "Lock:tuple",
            "not known: pg_stat_io: this is Postgres 15, which has none",
            "The limit was the server: 1.9 of 2 cores.",
            "fedcba987654",
            "fsync",
            "limiter",
            "120.500 s",
        ):
            assert words in said, words

    def test_without_samples_says_why_there_is_no_timeline(self) -> None:
        said = read([without_samples()]).text
        assert "samples were sketched and not kept" in said
        assert "Percentile curve" in said

    def test_a_step_beyond_the_first_is_there_too(self) -> None:
        said = read(ALL["many steps"]).text
        assert "281 more" in said
        assert "step-299" in said

    def test_a_dead_part_of_the_stack_is_named(self) -> None:
        record = a_run()
        (server, *rest) = record.proof.processes
        died = type(server)(**{**vars(server), "died_at": 3.0, "death": "killed by SIGKILL"})
        proof = type(record.proof)(**{**vars(record.proof), "processes": (died, *rest)})
        assert (
            "server died 3.0 s into the load: killed by SIGKILL" in read([a_run(proof=proof)]).text
        )


class TestThePage:
    @settings(max_examples=30, deadline=None)
    @given(st.lists(records, max_size=2))
    def test_is_well_formed_whatever_a_record_holds(self, records: list[RunRecord]) -> None:
        read(records)

    @every
    def test_can_be_read_without_eyes(self, records: list[RunRecord]) -> None:
        found = read(records)
        levels = [int(tag[1]) for tag, _ in found.elements if re.fullmatch("h[1-6]", tag)]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(next_ <= level + 1 for level, next_ in pairwise(levels))
        for picture in found.of("svg"):
            assert picture["role"] == "img"
            assert len(picture["aria-label"] or "") > 8
        assert len(found.of("table")) == len(found.of("caption"))
        assert found.of("html") == [{"lang": "en"}]
        assert all(heading.get("scope") in ("row", "col") for heading in found.of("th"))

    @every
    def test_has_no_place_twice_and_no_link_to_nowhere(self, records: list[RunRecord]) -> None:
        found = read(records)
        ids = Counter(a["id"] for _, a in found.elements if "id" in a)
        assert not [name for name, count in ids.items() if count > 1]
        for link in found.of("a"):
            assert (link["href"] or "").removeprefix("#") in ids

    @every
    def test_needs_no_network(self, records: list[RunRecord]) -> None:
        source = page(records)
        assert not Reader(source).of("link")
        for _, attributes in Reader(source).elements:
            for name in ("src", "href", "action", "xlink:href"):
                assert (attributes.get(name) or "#").startswith("#")
        assert "url(" not in source
        assert "@import" not in source
        policies = [a["content"] for a in Reader(source).of("meta") if "http-equiv" in a]
        assert len(policies) == 1
        assert (policies[0] or "").startswith(
            "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-"
        )

    @every
    def test_every_plot_has_its_figures(self, records: list[RunRecord]) -> None:
        found = read(records)
        plots = [a for _, a in found.elements if (a.get("class") or "").startswith("plot ")]
        assert len(plots) == len(found.of("figure"))
        for part in page(records).split("<figure ")[1:]:
            assert "<details" in part.split("</figure>")[0]
            assert "<td>" in part.split("</figure>")[0]

    def test_names_without_a_place_for_them_do_no_harm(self) -> None:
        Reader(page([a_run("storm\x00\ud800\x1b[31m")]).encode().decode())


class TestWhatCameFromTheRun:
    def test_is_never_run(self) -> None:
        plain, poisoned = read([missed()]), read([hostile(missed(), POISON)])
        assert not poisoned.of("img")
        # Not an element more, but for the words that are no figures any longer.
        for tag in ("script", "style", "b", "a", "h2", "table", "figure", "meta"):
            assert len(poisoned.of(tag)) == len(plain.of(tag)), tag
        assert not [a for _, a in poisoned.elements if any(name.startswith("on") for name in a)]
        assert poisoned.text.count("<img src=x onerror=alert(1)>") > 100

    def test_an_error_message_is_shown_as_it_was(self) -> None:
        (error,) = missed().errors
        bad = type(error)(**{**vars(error), "message": POISON})
        source = page([missed(errors=(bad,))])
        assert "&lt;/script&gt;&lt;/style&gt;&lt;img src=x onerror=alert(1)&gt;" in source
        assert POISON in "".join(Reader(source).words)

    @given(st.text())
    def test_any_text_stays_text(self, words: str) -> None:
        # Half a surrogate pair and control characters have no place in HTML; carriage returns become newlines.
        found = Reader(element("p", words, title=words))
        assert [tag for tag, _ in found.elements] == ["p"]
        assert "".join(found.words) == re.sub(
            "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", "\ufffd", words
        )
        assert text(words).encode().decode() == text(words)


class TestTheBaseline:
    @pytest.mark.parametrize(
        ("changes", "html", "line"),
        [
            ({"limit": None, "passed": True}, [], "|  | response"),
            ({"limit": "p95:10%", "passed": True}, ["good"], "| ✅ | response"),
            ({"limit": "p95:10%", "passed": True, "decided": False}, ["doubt"], "| ❔ | response"),
            ({"limit": "p95:10%", "passed": False}, ["bad"], "| ❌ | response"),
        ],
        ids=["told", "held", "undecided", "missed"],
    )
    def test_only_what_is_held_to_a_limit_has_a_mark(
        self, changes: dict[str, Any], html: list[str], line: str
    ) -> None:
        record = missed(thresholds=())
        assert record.comparison is not None
        (figure,) = record.comparison.figures
        found = replace(record.comparison, figures=(replace(figure, **changes),))
        table = comparison(replace(record, comparison=found))
        assert re.findall(r'class="mark (\w+)"', str(table)) == html
        assert line in markdown_text([replace(record, comparison=found)])


def test_moments_of_a_proof_count_from_the_begin_of_the_load() -> None:
    plain = a_run(parameters={})
    late = a_run(parameters={"start_seconds": 7.0, "warm_up_seconds": 3.0, "rate": "5/s"})
    assert [window_begin(record) for record in (plain, late)] == [0, 10]
    assert RunPlots(late, "1").x != RunPlots(plain, "1").x


class TestTheFile:
    def test_of_five_minutes_with_a_dozen_steps_is_small_and_quick(self, tmp_path: Path) -> None:
        records = [missed(steps=12)]
        begin = time.process_time()
        write_report(records, tmp_path / "report.html")
        assert time.process_time() - begin < 6
        assert (tmp_path / "report.html").stat().st_size < 1_500_000

    def test_takes_the_place_of_an_earlier_one_in_a_folder_that_it_makes(
        self, tmp_path: Path
    ) -> None:
        file = tmp_path / "new" / "report.html"
        write_report([a_run()], file)
        write_report([], file, title="Nightly <2>")
        assert "Nightly &lt;2&gt;" in file.read_text("utf-8")
        assert "No load was made" in file.read_text("utf-8")
        assert [path.name for path in file.parent.iterdir()] == ["report.html"]

    @pytest.mark.parametrize(
        ("runs", "headline"),
        [
            (0, "2 load tests failed, and no load was made"),
            (1, "2 load tests failed beside it: the load passed"),
            (3, "2 load tests failed beside them: all 3 loads passed"),
        ],
    )
    def test_a_load_that_was_never_made_is_no_pass(self, runs: int, headline: str) -> None:
        missing = [
            ("test_a.py::test_a", "PreflightError: no such fleet"),
            ("test_b.py::test_b", "<b>"),
        ]
        document = page([a_run() for _ in range(runs)], not_made=missing)
        assert f"<h1>{headline}</h1>" in document
        assert f"<title>{headline} · Load tests</title>" in document
        assert 'class="verdict failed"' in document
        assert "PreflightError: no such fleet" in document
        assert "<b>&lt;b&gt;</b>" in document

    def test_that_cannot_be_written_names_the_option_and_the_remedy(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(ReportError, match=r"--certload-html .*report.html: .*name a file"):
            write_report([], tmp_path / "file" / "report.html")


@pytest.mark.parametrize(
    ("changes", "conditions", "good"),
    [
        ({"lost": 0}, [], True),
        ({"lost": 1}, [], False),
        ({"lost": 0, "acknowledged": 0}, [], False),
        ({"lost": 0, "strangers": 5}, [("renewal jobs that nobody asked for", False)], False),
        ({"lost": 0}, [("renewal jobs lost", True), ("renewal jobs of others lost", False)], True),
    ],
)
def test_effects_have_the_mark_of_what_was_judged_of_them(
    changes: dict[str, Any], conditions: list[tuple[str, bool]], good: bool
) -> None:
    run = a_run()
    (found,) = run.proof.effects
    thresholds = tuple(
        replace(run.thresholds[0], metric=metric, passed=passed) for metric, passed in conditions
    )
    proof = replace(run.proof, effects=(replace(found, **changes),))
    said = read([replace(run, proof=proof, thresholds=thresholds)]).text
    row = said[said.index("Was the work done?") :]
    row = row[row.index("waited") :][:60]
    assert ("✓ passed renewal jobs" in row, "✗ failed renewal jobs" in row) == (good, not good)
