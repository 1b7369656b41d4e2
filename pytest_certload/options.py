"""Which options are there, and what do they say? One table, read once, frozen.

A value comes from the command line, else from the environment, else from the ini file, else
from the table's default.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pytest_certload.baselines.limits import Limit, check_name, parse_wish
from pytest_certload.clients import TRANSPORTS
from pytest_certload.errors import ConfigurationError
from pytest_certload.redaction import Redactor
from pytest_certload.units import Duration, Rate, parse_duration, parse_rate
from pytest_certload.verdict.policy import UNDECIDED, Policy

if TYPE_CHECKING:
    import pytest

    from pytest_certload.stack import StackRequest
    from pytest_certload.verdict.thresholds import Threshold

__all__ = ["OPTIONS", "Option", "Settings", "add_options", "read_settings"]

STACKS = ("auto", "docker", "embedded", "external")
EXPORTS = ("npz", "parquet")
FORMATS = ("k6", "openmetrics", "markdown", "otel")
SAMPLES = ("keep", "sketch")
PREFLIGHTS = ("on", "off")
OFF = "off"


@dataclass(frozen=True, kw_only=True)
class Option:
    """One row: ``--certload-NAME``, ini ``certload_NAME``, environment ``CERTLOAD_NAME``.

    ``setting`` stands for the name in all but the command line, where there are several in one place.
    ``spaced``: values may have spaces in them, so in the environment they stand one a line.
    ``named``: values are NAME=VALUE, and each name is looked up by itself: what the ini file, the
    environment and the command line say adds up.
    """

    name: str
    help: str
    parse: Callable[[str, Path], Any]
    metavar: str
    default: str | None = None
    several: bool = False
    flag: bool = False
    secret: bool = False
    setting: str | None = None
    spaced: bool = False
    named: bool = False

    @property
    def long(self) -> str:
        """The command line's spelling."""
        return f"--certload-{self.name}"

    @property
    def key(self) -> str:
        """The ini file's and the settings' spelling."""
        return f"certload_{self.field}"

    @property
    def variable(self) -> str:
        """The environment's spelling."""
        return self.key.upper()

    @property
    def field(self) -> str:
        """The attribute of ``Settings``."""
        return (self.setting or self.name).replace("-", "_")


def _text(value: str, base: Path) -> str:
    return value


def _path(value: str, base: Path) -> Path:
    if not value.strip():
        raise ConfigurationError("the value is empty; name a file or folder, such as ./results")
    # An absolute path stays what it is when it is joined to another.
    return base / Path(value).expanduser()


def _stack(value: str, base: Path) -> str:
    if value not in STACKS:
        raise ConfigurationError(f"{value!r} is not a stack; choose one of {', '.join(STACKS)}")
    return value


def _transport(value: str, base: Path) -> str:
    if value not in TRANSPORTS:
        raise ConfigurationError(
            f"{value!r} is not a transport; choose one of {', '.join(TRANSPORTS)}"
        )
    return value


def _export(value: str, base: Path) -> str:
    if value not in EXPORTS:
        raise ConfigurationError(
            f"{value!r} is not a format for samples; choose one of {', '.join(EXPORTS)}"
        )
    if value == "parquet":
        _need("pyarrow", extra="parquet", wanted=value)
    return value


def _format(value: str, base: Path) -> str:
    if value not in FORMATS:
        raise ConfigurationError(
            f"{value!r} is not a format for results; choose of {', '.join(FORMATS)}"
        )
    if value == "otel":
        for package in ("opentelemetry.sdk.metrics", "opentelemetry.exporter.otlp.proto.http"):
            _need(package, extra="otel", wanted=value)
    return value


def _samples(value: str, base: Path) -> str:
    if value not in SAMPLES:
        raise ConfigurationError(
            f"{value!r} is nothing to do with samples; choose one of {', '.join(SAMPLES)}"
        )
    if value == "sketch":
        _need("ddsketch", extra="sketch", wanted=value)
    return value


def _preflight(value: str, base: Path) -> str:
    if value not in PREFLIGHTS:
        raise ConfigurationError(f"{value!r} is neither of {', '.join(PREFLIGHTS)}")
    return value


def _html(value: str, base: Path) -> Path | str:
    return OFF if value == OFF else _path(value, base)


def _undecided(value: str, base: Path) -> str:
    if value not in UNDECIDED:
        raise ConfigurationError(
            f"{value!r} is nothing to do with what is not decided; choose one of "
            f"{', '.join(UNDECIDED)}"
        )
    return value


def _threshold(value: str, base: Path) -> Threshold:
    from pytest_certload.verdict.thresholds import parse_threshold

    return parse_threshold(value)


def _save(value: str, base: Path) -> str:
    return check_name(value.strip())


def _compare(value: str, base: Path) -> tuple[str, tuple[Limit, ...]]:
    return parse_wish(value)


def _need(package: str, *, extra: str, wanted: str) -> None:
    # Looked for and not imported: it is heavy, and this session may run no load test.
    try:
        found = find_spec(package) is not None
    except ModuleNotFoundError:  # not even what it is a part of
        found = False
    if not found:
        raise ConfigurationError(
            f"{wanted!r} needs {package}, which is not installed; "
            f'pip install "pytest-certload[{extra}]"'
        )


def _duration(value: str, base: Path) -> Duration:
    duration = parse_duration(value)
    if duration == 0:
        raise ConfigurationError(f"{value!r} leaves no time for load; write such as 20s or 5m")
    return duration


def _warm_up(value: str, base: Path) -> Duration:
    return parse_duration(value)


def _rate(value: str, base: Path) -> Rate:
    return parse_rate(value)


def _vus(value: str, base: Path) -> int:
    if not re.fullmatch("[1-9][0-9]*", value.strip()):
        raise ConfigurationError(f"{value!r} is not a number of VUs; write a whole number above 0")
    return int(value)


def _port(value: str, base: Path) -> int:
    if not re.fullmatch("[0-9]{1,5}", value.strip()) or int(value) > 65535:
        raise ConfigurationError(f"{value!r} is not a port; write 0 (any free one) to 65535")
    return int(value)


def _yes(value: str, base: Path) -> bool:
    if value.strip().lower() in ("1", "true", "yes", "on"):
        return True
    if value.strip().lower() in ("0", "false", "no", "off", ""):
        return False
    raise ConfigurationError(f"{value!r} is neither true nor false")


def _switch(value: str, base: Path) -> bool:
    if value not in ("on", "off"):
        raise ConfigurationError(f"{value!r} is neither on nor off; choose one of them")
    return value == "on"


def _url(value: str, base: Path) -> str:
    from pytest_certload.stack.hosts import check_base_url

    return check_base_url(value, name="the value")


def _dsn(value: str, base: Path) -> str:
    # The value may carry a password, so the message must not.
    if not value.startswith(("postgres://", "postgresql://")):
        raise ConfigurationError(
            "the value is not a Postgres DSN; write postgresql://user:password@localhost:5432/name"
        )
    address = re.split(r"[/?]", value.partition("://")[2], maxsplit=1)[0]
    credentials, _, host = address.rpartition("@")
    # Whoever reads a DSN by another rule would connect to another host than the one that is checked.
    if "@" in credentials:
        raise ConfigurationError(
            "the value has more than one @ before its host; write one in a password as %40"
        )
    if "%" in host:
        raise ConfigurationError("the value has a % in its host; write the host's plain name")
    return value


def _token(value: str, base: Path) -> str:
    token = value.strip()
    # A secret is not repeated.
    if not token or not all("!" <= character <= "~" for character in token):
        raise ConfigurationError(
            "the value is no bearer token: one has printable ASCII characters alone, and no space among them"
        )
    return token


def _postgres_setting(value: str, base: Path) -> tuple[str, str]:
    from pytest_certload.stack.settings import parse_setting

    return parse_setting(value)


def _pair(value: str, base: Path) -> tuple[str, str]:
    name, separator, content = value.partition("=")
    if not separator or not name.strip():
        # What may be a secret is not repeated.
        raise ConfigurationError("the value is not NAME=VALUE; write such as LOG_LEVEL=debug")
    return name.strip(), content


# fmt: off
OPTIONS: tuple[Option, ...] = (
    Option(name="stack", metavar="STACK", parse=_stack, default="auto",
           help="what runs under test: auto, docker, embedded or external (default: auto)"),
    Option(name="duration", metavar="TIME", parse=_duration,
           help="length of every load instead of the one in the test, such as 20s or 5m"),
    Option(name="rate", metavar="RATE", parse=_rate,
           help="arrival rate instead of the one in the test, such as 167/s or 100/min"),
    Option(name="vus", metavar="N", parse=_vus,
           help="number of VUs instead of the one in the test"),
    Option(name="warm-up", metavar="TIME", parse=_warm_up,
           help="length of warm-ups instead of the one in the test, where there is one"),
    Option(name="transport", metavar="NAME", parse=_transport, default="aiohttp",
           help="what speaks HTTP: aiohttp, or fast for more load from a core (default: aiohttp)"),
    Option(name="results", metavar="DIR", parse=_path, default="results",
           help="folder for the summaries of each scenario (default: results)"),
    Option(name="html", metavar="FILE", parse=_html,
           help="the report to look at, or off (default: report.html in the results folder)"),
    Option(name="export", metavar="FORMAT", parse=_export,
           help="write every sample beside the summaries: npz, or parquet (default: neither)"),
    Option(name="format", metavar="NAME", parse=_format, several=True,
           help="write the results in one more format: k6, openmetrics, markdown or otel"),
    Option(name="samples", metavar="WHAT", parse=_samples, default="keep",
           help="keep every sample, or sketch: figures of a fixed size, however long the run "
                "(default: keep)"),
    Option(name="preflight", metavar="WHAT", parse=_preflight, default="on",
           help="checks of the server before a load: on, or off to load it as it is (default: on)"),
    Option(name="evidence", metavar="ON", parse=_switch, default="on",
           help="look at the stack's Postgres while a load runs: on or off (default: on)"),
    Option(name="effects-limit", metavar="TIME", parse=_duration, default="10s",
           help="how long after a load what it must leave behind may still come (default: 10s)"),
    Option(name="undecided", metavar="WHAT", parse=_undecided, default="warn",
           help="a condition that the samples are too few to decide: warn (the estimate decides), "
                "fail or pass (default: warn)"),
    Option(name="threshold", setting="thresholds", metavar="EXPR", parse=_threshold, several=True,
           spaced=True,
           help="a condition on every load, such as 'http_req_duration: p(95)<500'"),
    Option(name="save", metavar="NAME", parse=_save,
           help="save the runs of tests that pass as a baseline of that name"),
    Option(name="compare", metavar="NAME[,LIMIT…]", parse=_compare,
           help="compare with the baseline of that name; what went up by more than a limit such as "
                "p99:50ms fails (docs/baselines.md)"),
    Option(name="compare-anyway", metavar="", parse=_yes, flag=True, default="false",
           help="compare also with a baseline of another machine, stack or load"),
    Option(name="baselines", metavar="DIR", parse=_path, default=".certload/baselines",
           help="folder of the baselines (default: .certload/baselines)"),
    Option(name="seed", metavar="DIR", parse=_path,
           help="folder of SQL files, applied in lexical order (default: the product's own seed)"),
    Option(name="base-url", metavar="URL", parse=_url,
           help="the server to load: of the external stack, or of tests that need no stack"),
    Option(name="dsn", metavar="DSN", parse=_dsn, secret=True,
           help="the external server's Postgres"),
    Option(name="token", metavar="TOKEN", parse=_token, secret=True,
           help="bearer token for the external server"),
    Option(name="ca", metavar="FILE", parse=_path,
           help="PEM file of the CA that signed the external server's certificate"),
    Option(name="allow-host", metavar="HOST", parse=_text, several=True,
           help="a host that may be loaded though it is neither loopback nor a private name"),
    Option(name="allow-seed", metavar="", parse=_yes, flag=True, default="false",
           help="seed an external database that is not marked as a load-test database"),
    Option(name="server-image", metavar="IMAGE", parse=_text,
           help="server image of the docker stack; 'reference' builds the reference server"),
    Option(name="postgres-image", metavar="IMAGE", parse=_text, default="postgres:16-alpine",
           help="Postgres image of the docker stack (default: postgres:16-alpine)"),
    Option(name="postgres-bin", metavar="DIR", parse=_path,
           help="folder of Postgres programs (15 or newer) for the embedded stack"),
    Option(name="postgres-setting", setting="postgres_settings", metavar="NAME=VALUE",
           parse=_postgres_setting, several=True, named=True,
           help="a setting of the Postgres that the stack starts, such as shared_buffers=512MB"),
    Option(name="server-port", metavar="PORT", parse=_port, default="0",
           help="port of the server that the stack starts (default: any free one)"),
    Option(name="server-env", metavar="NAME=VALUE", parse=_pair, several=True, named=True, secret=True,
           help="environment variable for the server that the stack starts; of an external one, "
                "what it runs with"),
    Option(name="boot-timeout", metavar="TIME", parse=_duration, default="60s",
           help="how long the server may take to become ready (default: 60s)"),
)
# fmt: on


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Every option's value; see ``OPTIONS`` for their meaning."""

    stack: str
    duration: Duration | None
    rate: Rate | None
    vus: int | None
    warm_up: Duration | None
    transport: str
    results: Path
    html: Path | str | None
    export: str | None
    format: tuple[str, ...]
    samples: str
    preflight: str
    evidence: bool
    effects_limit: Duration
    undecided: str
    thresholds: tuple[Threshold, ...]
    save: str | None
    compare: tuple[str, tuple[Limit, ...]] | None
    compare_anyway: bool
    baselines: Path
    seed: Path | None
    base_url: str | None
    dsn: str | None = field(repr=False)
    token: str | None = field(repr=False)
    ca: Path | None
    allow_host: tuple[str, ...]
    allow_seed: bool
    server_image: str | None
    postgres_image: str
    postgres_bin: Path | None
    postgres_settings: tuple[tuple[str, str], ...]
    server_port: int
    server_env: tuple[tuple[str, str], ...] = field(repr=False)
    boot_timeout: Duration

    @property
    def report_file(self) -> Path | None:
        """Where the HTML report is to lie; None: it is not wanted."""
        if self.html is None:
            return self.results / "report.html"
        return self.html if isinstance(self.html, Path) else None

    def policy(self) -> Policy:
        """How runs are judged."""
        return Policy(undecided=self.undecided, effects_limit=self.effects_limit)

    def redactor(self) -> Redactor:
        """Knows the secrets among the options."""
        redactor = Redactor()
        redactor.learn(self.token)
        redactor.learn_dsn(self.dsn)
        redactor.learn_environment(self.server_env)
        return redactor

    def stack_request(self) -> StackRequest:
        """What the stack is asked for."""
        from pytest_certload.stack import StackRequest

        return StackRequest(
            provider=self.stack,
            server_image=self.server_image,
            postgres_image=self.postgres_image,
            postgres_bin=self.postgres_bin,
            server_port=self.server_port,
            base_url=self.base_url,
            dsn=self.dsn,
            token=self.token,
            ca_path=self.ca,
            seed_dir=self.seed,
            allow_seed=self.allow_seed,
            allow_hosts=self.allow_host,
            boot_timeout=self.boot_timeout.total_seconds,
            server_environment=dict(self.server_env),
            postgres_settings=dict(self.postgres_settings),
        )


def add_options(parser: pytest.Parser) -> None:
    """Put the table into pytest's parser."""
    group = parser.getgroup("certload", "load tests (pytest-certload)")
    for option in OPTIONS:
        if option.flag:
            group.addoption(
                option.long, dest=option.key, action="store_const", const="true", help=option.help
            )
        else:
            group.addoption(
                option.long,
                dest=option.key,
                action="append" if option.several else "store",
                metavar=option.metavar,
                help=option.help,
            )
        note = f"{option.help}; one a line" if option.several else option.help
        kind: Literal["linelist", "string"] = "linelist" if option.several else "string"
        parser.addini(option.key, note, type=kind, default=None)


def read_settings(config: pytest.Config, environ: Mapping[str, str]) -> Settings:
    """Read and check every option.

    Raises:
        ConfigurationError: One or more values cannot be used; the message lists them all.
    """
    values: dict[str, Any] = {}
    problems: list[str] = []
    for option in OPTIONS:
        given = _given(option, config, environ)
        raw = 0
        parsed = []
        for texts, source, base in reversed(given if option.named else given[:1]):
            raw += len(texts)
            for text in texts:
                try:
                    parsed.append(option.parse(text, base))
                except ConfigurationError as error:
                    problems.append(f"{source}: {_without_prefix(str(error))}")
        if len(parsed) < raw:
            continue
        if option.named:
            values[option.field] = tuple(dict(parsed).items())
        elif option.several:
            values[option.field] = tuple(parsed)
        else:
            values[option.field] = parsed[-1] if parsed else None
    if values.get("export") and values.get("samples") == "sketch":
        problems.append(
            f"--certload-export: {values['export']!r} wants every sample and --certload-samples "
            "sketch keeps none; leave one of them out"
        )
    if values.get("undecided") == "fail" and values.get("samples") == "sketch":
        problems.append(
            "--certload-undecided: 'fail' wants to know how sure each percentile is, and of those of "
            "--certload-samples sketch nobody knows; leave one of them out"
        )
    if problems:
        raise ConfigurationError(Redactor().text("\n".join(problems)))
    assert values.keys() == {f.name for f in fields(Settings)}
    return Settings(**values)


#: The raw texts, where they come from, and the folder that relative paths start at.
_Given = tuple[list[str], str, Path]


def _given(option: Option, config: pytest.Config, environ: Mapping[str, str]) -> list[_Given]:
    """Where an option is given, what wins first; else its default."""
    found: list[_Given] = []
    given = config.getoption(option.key)
    if given is not None:
        texts = given if isinstance(given, list) else [given]
        found.append((texts, option.long, config.invocation_params.dir))
    if environ.get(option.variable, "") != "":
        text = environ[option.variable]
        texts = [text]
        if option.several:
            texts = (
                [line for line in text.splitlines() if line.strip()]
                if option.spaced
                else text.split()
            )
        found.append((texts, f"{option.variable} (environment)", config.invocation_params.dir))
    ini = config.getini(option.key)
    base = config.inipath.parent if config.inipath else config.rootpath
    if ini:
        found.append((ini if isinstance(ini, list) else [ini], f"{option.key} (ini file)", base))
    if option.default is not None:
        found.append(([option.default], option.long, config.rootpath))
    return found


def _without_prefix(message: str) -> str:
    return re.sub(r"^(duration|rate|threshold): ", "", message)
