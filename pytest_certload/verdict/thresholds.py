"""How are thresholds written as text? In k6's grammar, on its metrics or our own.

An expression is ``AGGREGATE SIGN LIMIT``, such as ``p(95)<500``; before it may stand what it is about, such as
``http_req_duration{step:login}:``.  The grammar is the one of k6's documentation ("Thresholds", "Threshold
syntax"); limits of times may have a unit here as well, and limits of rates a ``/s`` or ``/min``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from pytest_certload.errors import ConfigurationError
from pytest_certload.units import Duration, ms, parse_duration, parse_rate

from .measure import Kind

__all__ = ["METRICS", "Threshold", "parse_threshold", "parse_thresholds"]


@dataclass(frozen=True)
class _Figure:
    """What an aggregate of a metric is here: an attribute of ``StepResult``.

    ``of_steps``: steps have it, too.  ``least``: it is no less than k6's would be, so only a lower bound can be
    held on it.
    """

    attribute: str
    kind: Kind
    of_steps: bool = True
    least: bool = False


def _times(attribute: str, *, of_steps: bool = True) -> Mapping[str, _Figure]:
    return {"time": _Figure(attribute, Kind.DURATION, of_steps)}


def _share(attribute: str) -> Mapping[str, _Figure]:
    return {"rate": _Figure(attribute, Kind.SHARE)}


_TIME = "time"
_RESPONSE_TIME = _times("response_time")
_DROPPED = {
    "count": _Figure("dropped", Kind.COUNT, of_steps=False),
    "rate": _Figure("dropped_rate", Kind.RATE, of_steps=False),
}

#: By the metric's name: what its aggregates are; ``time`` stands for all those of times.
METRICS: Mapping[str, Mapping[str, _Figure]] = {
    # Our own.
    "response_time": _RESPONSE_TIME,
    "service_time": _times("service_time"),
    "first_byte": _times("first_byte"),
    "dns": _times("dns"),
    "connect": _times("connect"),
    "tls": _times("tls"),
    "error_rate": _share("error_rate"),
    "server_error_rate": _share("server_error_rate"),
    "success_rate": _share("success_rate"),
    "unanswered_rate": {"rate": _Figure("unanswered_rate", Kind.SHARE, of_steps=False)},
    "errors": {"count": _Figure("errors", Kind.COUNT), **_share("error_rate")},
    "iterations": {
        "count": _Figure("finished", Kind.COUNT, of_steps=False),
        "rate": _Figure("rate", Kind.RATE, of_steps=False),
    },
    "dropped": _DROPPED,
    # k6's.
    "http_req_duration": _RESPONSE_TIME,
    "http_req_waiting": _times("first_byte"),
    "http_req_failed": _share("error_rate"),
    "http_reqs": {
        "count": _Figure("finished", Kind.COUNT, least=True),
        "rate": _Figure("rate", Kind.RATE, least=True),
    },
    "iteration_duration": _times("response_time", of_steps=False),
    "group_duration": _RESPONSE_TIME,
    "checks": _share("success_rate"),
    "dropped_iterations": _DROPPED,
}

#: Metrics of k6 that are something else here, and what to write instead.
_OTHERWISE = {
    "http_req_connecting": "k6 counts 0 for each request on an open connection; `connect` is of the "
    "connections that were made",
    "http_req_tls_handshaking": "k6 counts 0 for each request on an open connection; `tls` is of the "
    "connections that were made",
    "http_req_blocked": "the wait for a free slot is in `response_time`",
}

_TIMES = ("avg", "min", "med", "max", "p(N)")
_STATISTICS = {"avg": "mean", "min": "min", "max": "max"}
#: What an expression is about that stands alone.
_ALONE = {_TIME: "response_time", "rate": "error_rate", "count": "iterations"}

_NUMBER = r"[0-9]+(?:\.[0-9]+)?|\.[0-9]+"
_EXPRESSION = re.compile(
    rf"(?P<aggregate>[A-Za-z]+)\s*(?:\(\s*(?P<percent>{_NUMBER})\s*\))?\s*"
    r"(?P<sign>===|==|!=|<=|>=|<|>)\s*(?P<limit>[^<>=!]+)"
)
_SUBJECT = re.compile(r"(?P<metric>[A-Za-z_][\w ]*)?\s*(?:\{(?P<tags>[^{}]*)\})?")
_WHOLE = re.compile(rf"(?P<subject>{_SUBJECT.pattern}):(?P<expression>[^:{{}}]*)")

_GRAMMAR = 'write such as "p(95)<500", "rate<0.001", "count>1000" or "avg<200ms"'
_TAGS = "{step:NAME} and {scenario:NAME}"


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """A condition that is written as text.

    Attributes:
        text: As it was written, with what it is about: ``http_req_duration: p(95)<500``.
        figure: The attribute of ``StepResult`` that it is about.
        kind: What that is.
        statistic: Of times: ``mean``, ``min`` or ``max``; None: a percentile, or no time.
        percent: Of times: which percentile; None: none.
        sign: Such as ``<``.
        limit: Nanoseconds (a ``Duration``), a share from 0 to 1, a count, or a rate per second.
        step: The step it is about; None: whole iterations.
        scenario: The scenario it is about; None: the run.
        abort_on_fail: Whether a breach ends the load.
        delay: How long after the begin of the measured window it is looked at first, for that.
    """

    text: str
    figure: str
    kind: Kind
    statistic: str | None = None
    percent: float | None = None
    sign: str
    limit: float
    step: str | None = None
    scenario: str | None = None
    abort_on_fail: bool = False
    delay: Duration = Duration(0)  # noqa: RUF009 - immutable

    def __str__(self) -> str:
        return self.text

    @property
    def label(self) -> str:
        """The figure's name in reports: ``response time p95``."""
        words = self.figure.replace("_", " ")
        if self.percent is not None:
            return f"{words} p{self.percent:g}"
        return f"{words} {self.statistic}" if self.statistic else words


def parse_thresholds(value: object, *, name: str = "thresholds") -> tuple[Threshold, ...]:
    """Read thresholds in any of the forms in which k6 has them.

    Args:
        value: An expression; a list of expressions; or a mapping from a metric to one of these. For an
            expression may stand a mapping with ``threshold``, ``abort_on_fail`` (k6: ``abortOnFail``) and
            ``delay`` (k6: ``delayAbortEval``).
        name: What the value is, for the error.

    Raises:
        ConfigurationError: It is none of these, or names a metric, tag or aggregate that is not known.
    """
    return tuple(_read(value, None, name))


def parse_threshold(text: str, *, name: str = "threshold") -> Threshold:
    """Read one expression, with or without what it is about.

    Raises:
        ConfigurationError: As for ``parse_thresholds``.
    """
    return _threshold(text, None, name)


def _read(value: object, metric: str | None, name: str) -> Iterator[Threshold]:
    if isinstance(value, str):
        yield _threshold(value, metric, name)
    elif isinstance(value, Mapping):
        if "threshold" in value:
            yield _entry(value, metric, name)
        elif metric is None:
            for subject, expressions in value.items():
                if not isinstance(subject, str):
                    raise ConfigurationError(f"{name}: {subject!r} is no metric; {_known()}")
                yield from _read(expressions, subject, name)
        else:
            raise ConfigurationError(
                f"{name}: {dict(value)!r} has no threshold; write "
                '{"threshold": "p(95)<500", "abort_on_fail": True}'
            )
    elif isinstance(value, Sequence) and not isinstance(value, bytes):
        for one in value:
            yield from _read(one, metric, name)
    else:
        raise ConfigurationError(f"{name}: {value!r} is no threshold; {_GRAMMAR}")


def _entry(entry: Mapping[str, object], metric: str | None, name: str) -> Threshold:
    known = ("threshold", "abort_on_fail", "abortOnFail", "delay", "delayAbortEval")
    unknown = [key for key in entry if key not in known]
    text = entry["threshold"]
    if unknown:
        raise ConfigurationError(f"{name}: {text!r}: {unknown[0]!r} is none of {', '.join(known)}")
    if not isinstance(text, str):
        raise ConfigurationError(f"{name}: {text!r} is no threshold; {_GRAMMAR}")
    abort = entry.get("abort_on_fail", entry.get("abortOnFail", False))
    if not isinstance(abort, bool):
        raise ConfigurationError(f"{name}: {text!r}: abort_on_fail: {abort!r} is no True or False")
    delay = entry.get("delay", 0)
    if "delayAbortEval" in entry:
        delay = entry["delayAbortEval"]
        # As in k6, where a bare number is milliseconds.
        if isinstance(delay, (int, float)) and not isinstance(delay, (bool, Duration)):
            delay = ms(delay)
    return _threshold(
        text,
        metric,
        name,
        abort_on_fail=abort,
        delay=parse_duration(delay, name=f"{name}: {text!r}: delay"),
    )


def _threshold(
    text: str,
    subject: str | None,
    name: str,
    *,
    abort_on_fail: bool = False,
    delay: Duration = Duration(0),  # noqa: B008 - immutable
) -> Threshold:
    where = f"{name}: {text!r}"
    expression = text.strip()
    if subject is None:
        whole = _WHOLE.fullmatch(expression)
        if whole and (whole["metric"] or whole["tags"] is not None):
            subject, expression = whole["subject"].strip(), whole["expression"].strip()
    elif ":" in expression:
        raise ConfigurationError(f"{where}: the metric stands before it already, {subject!r}")
    read = _EXPRESSION.fullmatch(expression)
    if read is None:
        raise ConfigurationError(f"{where} is no threshold; {_GRAMMAR}")
    metric, tags = _subject(subject, where)
    aggregate = _aggregate(read, where)
    figure = _figure(metric, aggregate, read["sign"], where)
    step, scenario = _tags(tags, where)
    if metric == "group_duration" and step is None:
        raise ConfigurationError(
            f"{where}: group_duration is of a group, which is a step here; write "
            "group_duration{step:NAME}"
        )
    if step is not None and not figure.of_steps:
        raise ConfigurationError(f"{where}: {metric} is of whole iterations; leave the step out")
    sign = "==" if read["sign"] == "===" else read["sign"]
    limit = _limit(figure.kind, read["limit"].strip(), metric, where)
    if (
        abort_on_fail
        and figure.kind is Kind.COUNT
        and not (sign in ("<", "<=") or (sign == "==" and not limit))
    ):
        raise ConfigurationError(
            f"{where}: a count grows until the end, so abort_on_fail would end the load at its begin; "
            "leave it out"
        )
    if abort_on_fail and figure.attribute == "unanswered_rate":
        raise ConfigurationError(
            f"{where}: what is on its way has no answer yet, so abort_on_fail would end a load that goes "
            "well; leave it out"
        )
    percent = 50.0 if aggregate == "med" else float(read["percent"]) if read["percent"] else None
    return Threshold(
        text=expression if subject is None else f"{subject}: {expression}",
        figure=figure.attribute,
        kind=figure.kind,
        statistic=_STATISTICS.get(aggregate),
        percent=percent,
        sign=sign,
        limit=limit,
        step=step,
        scenario=scenario,
        abort_on_fail=abort_on_fail,
        delay=delay,
    )


def _aggregate(read: re.Match[str], where: str) -> str:
    """The aggregate's name; ``p(N)`` for a percentile."""
    aggregate, percent = read["aggregate"], read["percent"]
    if aggregate == "p" and percent is not None:
        if float(percent) > 100:
            raise ConfigurationError(f"{where}: p({percent}) is none of p(0) to p(100)")
        return "p(N)"
    if percent is None and aggregate in (*_STATISTICS, "med", "rate", "count"):
        return aggregate
    written = read.string[: read.start("sign")].strip()
    raise ConfigurationError(f"{where}: {written!r} is none of {', '.join(_TIMES)}, rate and count")


def _subject(subject: str | None, where: str) -> tuple[str | None, str]:
    """Metric and tags, as they are written."""
    if subject is None:
        return None, ""
    read = _SUBJECT.fullmatch(subject.strip())
    if read is None:
        raise ConfigurationError(
            f"{where}: {subject!r} is no metric; write such as http_req_duration or "
            "http_req_duration{step:login}"
        )
    metric = re.sub(r"\s+", "_", read["metric"].strip()) if read["metric"] else None
    if metric is not None and metric not in METRICS:
        other = _OTHERWISE.get(metric)
        raise ConfigurationError(
            f"{where}: there is no metric {metric}{f': {other}' if other else f'; {_known()}'}"
        )
    return metric, read["tags"] or ""


def _figure(metric: str | None, aggregate: str, sign: str, where: str) -> _Figure:
    kind = _TIME if aggregate in _TIMES else aggregate
    if metric is None:
        return METRICS[_ALONE[kind]][kind]
    figures = METRICS[metric]
    if kind not in figures:
        has = [name for k in figures for name in (_TIMES if k == _TIME else (k,))]
        raise ConfigurationError(f"{where}: {metric} has {', '.join(has)}, not {aggregate}")
    figure = figures[kind]
    if figure.least and not sign.startswith(">"):
        raise ConfigurationError(
            f"{where}: an iteration may make several requests, which are not counted one by one, so there "
            f"is no upper bound on {metric}; put it on iterations"
        )
    return figure


def _tags(text: str, where: str) -> tuple[str | None, str | None]:
    """Step and scenario."""
    step = scenario = None
    for tag in filter(None, (part.strip() for part in text.split(","))):
        key, _, value = (part.strip().strip("\"'") for part in tag.partition(":"))
        if key == "step" and value:
            step = value
        elif key == "group" and value.removeprefix("::"):
            step = value.removeprefix("::")
        elif key == "scenario" and value:
            scenario = value
        elif (key, value) != ("expected_response", "true"):
            # Times are of successes here, always.
            raise ConfigurationError(f"{where}: {{{tag}}} is no tag here; there are {_TAGS}")
    return step, scenario


def _limit(kind: Kind, text: str, metric: str | None, where: str) -> float:
    number = float(text) if re.fullmatch(_NUMBER, text) else None
    if kind is Kind.DURATION:
        # A bare number is milliseconds, as in k6.
        if number is not None:
            return Duration(round(Fraction(text) * 1_000_000))
        return parse_duration(text, name=f"{where}: limit")
    if kind is Kind.RATE and number is None:
        return float(parse_rate(text, name=f"{where}: limit"))
    if number is None:
        hint = "; write such as 0.001" if kind is Kind.SHARE else ""
        raise ConfigurationError(f"{where}: {text!r} is no number{hint}")
    if kind is Kind.SHARE and number > 1:
        hint = "" if metric else " of errors; for iterations per second write iterations: rate>100"
        raise ConfigurationError(
            f"{where}: {metric or 'a bare rate'} is a share, from 0 to 1, not {text}{hint}"
        )
    return number


def _known() -> str:
    return f"there are {', '.join(METRICS)}"
