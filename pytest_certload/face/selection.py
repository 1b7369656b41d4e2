"""Which tests run, and is that said? Load tests that ``-m`` selects, alone on the machine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_certload import gate
from pytest_certload.options import Settings

from .paths import relative

__all__ = ["Selection"]


class Selection:
    """The load tests of a session.

    Args:
        config: pytest's.
        settings: The options.
        check: Raises ``pytest.UsageError`` when the results of load tests could not be kept.

    Attributes:
        left_out: How many load tests ``-m`` did not select.
        selected: How many load tests are going to run.
    """

    def __init__(
        self, config: pytest.Config, settings: Settings, check: Callable[[], None]
    ) -> None:
        self._config = config
        self._settings = settings
        self._check = check
        self.left_out = 0
        self.selected = 0

    def refuse_workers(self) -> None:
        """Two loads at once measure each other, so load tests run in one process.

        Raises:
            pytest.UsageError: Load tests are asked for together with pytest-xdist's workers.
        """
        option = self._config.option
        if self._workers() and gate.names_scale(option.markexpr or ""):
            raise pytest.UsageError(
                f"-n {getattr(option, 'numprocesses', None)}: load tests share the machine with "
                "nobody, or they measure each other; run them with -n 0"
            )

    def _workers(self) -> bool:
        option = self._config.option
        return bool(getattr(option, "numprocesses", None) or getattr(option, "tx", None))

    def refuse_worker(self, item: pytest.Item) -> None:
        """The same in a worker, for ``-m`` expressions that do not name ``scale``."""
        if hasattr(self._config, "workerinput") and gate.is_scale(item):
            pytest.fail(
                "load tests share the machine with nobody, or they measure each other; "
                "run them with -n 0",
                pytrace=False,
            )

    def choose(self, items: list[pytest.Item]) -> None:
        """Leave out the load tests that ``-m`` does not select, and check those that it does.

        Raises:
            pytest.UsageError: A load test that could not prove anything, or results that could
                not be written.
        """
        keep, left_out = gate.split(items, self._config.option.markexpr or "")
        self.left_out = len(left_out)
        if left_out:
            self._config.hook.pytest_deselected(items=left_out)
            items[:] = keep
        chosen = [item for item in items if gate.is_scale(item)]
        self.selected = len(chosen)
        if chosen and not self._config.pluginmanager.has_plugin("asyncio"):
            raise pytest.UsageError(
                "load tests are run by pytest-asyncio, which is switched off (-p no:asyncio)"
            )
        for item in chosen:
            gate.check_item(item)
        if chosen and not self._config.option.collectonly:
            self._check()

    def header_lines(self) -> list[str]:
        """What is said at the top of a session that asks for load tests by name."""
        if not gate.names_scale(self._config.option.markexpr or ""):
            return []
        (results,) = relative([self._settings.results])
        return [f"certload: stack {self._settings.stack}, results in {results}"]

    def collection_lines(self) -> list[str]:
        """What is said after the collection."""
        lines = []
        if self.left_out:
            lines.append(
                f"certload: {_load_tests(self.left_out)} left out; run with: pytest -m scale"
            )
        markexpr, keyword = self._config.option.markexpr or "", self._config.option.keyword
        if not self.selected and gate.names_scale(markexpr):
            also = f" and -k {keyword!r}" if keyword else ""
            remedy = "another -k" if keyword else "mark one with @pytest.mark.scale"
            lines.append(
                f"certload: -m {markexpr!r}{also} select{'' if also else 's'} no load test here; "
                f"{remedy}, or name the folder that has them"
            )
        return lines


def _load_tests(count: int) -> str:
    return f"{count} load test{'s' if count != 1 else ''}"
