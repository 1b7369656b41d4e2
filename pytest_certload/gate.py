"""Which load tests run? Only those that ``-m`` selects, and never beside other tests."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from _pytest.mark.structures import Mark

    from pytest_certload.verdict.thresholds import Threshold

__all__ = [
    "MARKER_HELP",
    "ScaleMark",
    "add_asyncio_marker",
    "is_scale",
    "names_scale",
    "read_mark",
    "split",
    "touches_load",
    "uses_load",
    "uses_stack",
]

MARKER_HELP = (
    "scale(base_url=None, name=None, state='seeded', server_env={}, thresholds=()): a load test; runs only when -m "
    "selects it (pytest -m scale). base_url: the server, for tests that need no stack; name: the scenario's name "
    "in reports; state: 'keep' starts from what the tests before left in the stack's database; "
    "server_env: environment variables that the stack's server runs with; "
    "thresholds: conditions on its loads as text, such as ['p(95)<500', 'rate<0.001']."
)


_FIXTURES = frozenset(
    {"load", "certload_stack", "certload_database", "certload_connectors", "certctl"}
)

#: What a load test on a stack of our own starts from: its seeds, or what is there.
STATES = ("seeded", "keep")

_NOTHING: Mapping[str, str] = MappingProxyType({})
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, kw_only=True)
class ScaleMark:
    """The keywords of ``@pytest.mark.scale``."""

    base_url: str | None = None
    name: str | None = None
    state: str = STATES[0]
    server_env: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    thresholds: tuple[Threshold, ...] = ()


def is_scale(item: pytest.Item) -> bool:
    """Whether the item is a load test."""
    return item.get_closest_marker("scale") is not None


def uses_load(item: pytest.Item) -> bool:
    """Whether the item asks for the ``load`` fixture, directly or through another one."""
    return "load" in getattr(item, "fixturenames", ())


def uses_stack(item: pytest.Item) -> bool:
    """Whether the item makes load on the stack, and not on a base URL of its own."""
    fixtures = getattr(item, "fixturenames", ())
    return uses_load(item) and "certload_stack" in fixtures and read_mark(item).base_url is None


def touches_load(item: pytest.Item) -> bool:
    """Whether the item is a load test, or uses what belongs to one."""
    return is_scale(item) or not _FIXTURES.isdisjoint(getattr(item, "fixturenames", ()))


def read_mark(item: pytest.Item) -> ScaleMark:
    """The marker's keywords, the closest marker first; thresholds of all, of ``server_env`` each variable.

    Raises:
        pytest.UsageError: A keyword that the marker does not have, a positional argument, thresholds
            that cannot be read, or keywords that do not go together.
    """
    values: dict[str, Any] = {}
    for mark in item.iter_markers("scale"):
        _check(item, mark)
        for key, value in mark.kwargs.items():
            values.setdefault(key, value)
    if "server_env" in values:
        values["server_env"] = _server_env(item)
        for key, value in (("base_url", None), ("state", STATES[0])):
            if values.get(key, value) != value:
                raise pytest.UsageError(
                    f"{item.nodeid}: scale({key}={values[key]!r}, server_env=…): the server is not "
                    "started for such a test; leave one of them out"
                )
    if "thresholds" in values:
        values["thresholds"] = tuple(
            dict.fromkeys(
                threshold
                for mark in item.iter_markers("scale")
                if "thresholds" in mark.kwargs
                for threshold in _thresholds(item, mark.kwargs["thresholds"])
            )
        )
    return ScaleMark(**values)


def _server_env(item: pytest.Item) -> Mapping[str, str]:
    """All variables; of one that stands in several markers the closest value, of one test's the last."""
    found: dict[str, str] = {}
    for node in item.listchain():
        for mark in node.own_markers:
            if mark.name == "scale":
                found |= mark.kwargs.get("server_env", _NOTHING)
    return found


def _thresholds(item: pytest.Item, value: object) -> tuple[Threshold, ...]:
    from pytest_certload.errors import ConfigurationError
    from pytest_certload.verdict.thresholds import parse_thresholds

    try:
        return parse_thresholds(value, name=f"{item.nodeid}: scale(thresholds=…)")
    except ConfigurationError as error:
        raise pytest.UsageError(str(error)) from None


def _check(item: pytest.Item, mark: Mark) -> None:
    known = sorted(ScaleMark.__dataclass_fields__)
    unknown = sorted(set(mark.kwargs) - set(known))
    if unknown:
        raise pytest.UsageError(
            f"{item.nodeid}: the scale marker has no keyword {', '.join(map(repr, unknown))}; "
            f"it takes {_listed(known)}"
        )
    if mark.args:
        raise pytest.UsageError(
            f"{item.nodeid}: the scale marker takes keywords only ({_listed(known)}), "
            f"not {mark.args[0]!r}"
        )
    for key, value in mark.kwargs.items():
        if key == "server_env":
            _check_server_env(item, value)
        elif key != "thresholds" and not isinstance(value, str):
            raise pytest.UsageError(f"{item.nodeid}: scale({key}={value!r}): {key} must be text")
    state = mark.kwargs.get("state", STATES[0])
    if state not in STATES:
        raise pytest.UsageError(
            f"{item.nodeid}: scale(state={state!r}): choose {' or '.join(map(repr, STATES))}"
        )


def _check_server_env(item: pytest.Item, value: object) -> None:
    usable = isinstance(value, Mapping) and all(
        isinstance(name, str) and _VARIABLE.fullmatch(name) and isinstance(text, str)
        for name, text in value.items()
    )
    if not usable:
        raise pytest.UsageError(
            f"{item.nodeid}: scale(server_env={value!r}): write a dict of names and texts, such as "
            "{'LOG_LEVEL': 'debug'}"
        )


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


#: A name in a ``-m`` expression, and how many of them are tried in all combinations.
_NAME = re.compile(r"[^\s()]+")
_MOST_NAMES = 8


def _holds(markexpr: str, marks: frozenset[str]) -> bool:
    # Private, but the very code that interprets -m: anything else would judge differently.
    from _pytest.mark.expression import Expression

    try:
        expression = Expression.compile(markexpr)
    except Exception:  # noqa: BLE001 - its class differs between versions, and pytest says what is wrong
        return False
    return expression.evaluate(lambda name, /, **_: name in marks)


def selects(markexpr: str) -> bool:
    """Whether a ``-m`` expression picks tests by a mark they have.

    ``scale``, ``scale and not slow``, ``smoke or scale`` and ``scale or not slow`` do. An empty one,
    or one such as ``not slow`` that holds for a test without any mark and does not ask for ``scale``,
    leaves load tests out: nobody who wants the fast tests should start minutes of load.
    """
    if not markexpr.strip():
        return False
    return not _holds(markexpr, frozenset()) or _asks_for_scale(markexpr)


def _asks_for_scale(markexpr: str) -> bool:
    """Whether there are marks beside which ``scale`` makes the expression hold that else would not."""
    others = sorted(set(_NAME.findall(markexpr)) - {"and", "or", "not", "scale"})[:_MOST_NAMES]
    beside = (
        frozenset(marks) for size in range(len(others) + 1) for marks in combinations(others, size)
    )
    return any(
        _holds(markexpr, marks | {"scale"}) and not _holds(markexpr, marks) for marks in beside
    )


def names_scale(markexpr: str) -> bool:
    """Whether a ``-m`` expression asks for load tests by name."""
    return bool(markexpr.strip()) and _asks_for_scale(markexpr)


def split(
    items: Sequence[pytest.Item], markexpr: str
) -> tuple[list[pytest.Item], list[pytest.Item]]:
    """The items to keep and the load tests to leave out."""
    if selects(markexpr):
        return list(items), []
    return (
        [item for item in items if not is_scale(item)],
        [item for item in items if is_scale(item)],
    )


def check_item(item: pytest.Item) -> None:
    """Refuse a load test that could not prove anything.

    Raises:
        pytest.UsageError: Unknown marker keywords, a base URL that is none, or a plain function that
            asks for ``load``.
    """
    mark = read_mark(item)
    if mark.base_url is not None:
        from pytest_certload.errors import ConfigurationError
        from pytest_certload.stack.hosts import check_base_url

        try:
            check_base_url(mark.base_url, name=f"{item.nodeid}: scale(base_url=…)")
        except ConfigurationError as error:
            raise pytest.UsageError(str(error)) from None
    function = getattr(item, "function", None)
    # A fixture that asks for it may await the load, and hand its result to a plain function.
    if (
        function is not None
        and not inspect.iscoroutinefunction(function)
        and "load" in inspect.signature(function).parameters
    ):
        raise pytest.UsageError(
            f"{item.nodeid}: a test that makes load must be async, or nothing is ever awaited; "
            f"write `async def {function.__name__}(…)`"
        )


def add_asyncio_marker(items: Sequence[object]) -> None:
    """Let pytest-asyncio run async load tests in its strict mode as well."""
    for item in items:
        if (
            isinstance(item, pytest.Function)
            and is_scale(item)
            and inspect.iscoroutinefunction(item.function)
            and item.get_closest_marker("asyncio") is None
        ):
            item.add_marker("asyncio")
