"""What does a container take of the machine, and does it live? As far as Docker tells."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from docker.errors import NotFound

from pytest_certload.errors import StackError
from pytest_certload.stack.meters import Death, Reading, describe_exit
from pytest_certload.stack.process_meter import ProcessMeter

from .daemon import DOCKER_ERRORS, connect, explain

__all__ = ["ContainerMeter"]

T = TypeVar("T")

REQUEST_SECONDS = 5.0
#: A look at the state costs a request.
LOOK_SECONDS = 0.5
SIGNALLED = 128


class ContainerMeter:
    """The meter of a container.

    CPU time and memory are Docker's statistics. Of descriptors and context switches it keeps none: they
    are read like those of any process where the container's processes can be seen from here.

    Args:
        name: The part's.
        container: Its id.
    """

    def __init__(self, name: str, container: str) -> None:
        self.name = name
        self.missing: list[str] = []
        self._container = container
        self._began = time.time()
        self._opened = ExitStack()
        self._api: Any = None
        self._next_look = 0.0
        self._death: Death | None = None
        self._cpu = 0.0
        self._inner: ProcessMeter | None = None

    def read(self) -> Reading | None:
        """See ``Meter``."""
        stats = self._ask(
            lambda api: api.stats(self._container, stream=False, one_shot=True), "its statistics"
        )
        usage = (stats or {}).get("cpu_stats", {}).get("cpu_usage", {}).get("total_usage", 0)
        memory = (stats or {}).get("memory_stats", {})
        # All zero once the container has ended.
        if not usage or "usage" not in memory:
            return None
        self._cpu = max(self._cpu, usage / 1e9)
        inner = None if self._inner is None else self._inner.read()
        return Reading(
            cpu=self._cpu,
            memory=memory["usage"] - _droppable(memory.get("stats", {})),
            descriptors=inner.descriptors if inner else None,
            switches=inner.switches if inner else None,
            forced_switches=inner.forced_switches if inner else None,
        )

    def death(self) -> Death | None:
        """See ``Meter``."""
        if self._death is None and time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + LOOK_SECONDS
            self._look()
        return self._death

    def _look(self) -> None:
        found = self._ask(lambda api: api.inspect_container(self._container), "its state")
        if found is None:
            return
        state = found["State"]
        if state["Status"] in ("exited", "dead", "removing"):
            code = int(state["ExitCode"])
            how = describe_exit(SIGNALLED - code if code > SIGNALLED else code)
            if state.get("OOMKilled"):
                how += ", out of memory"
            self._death = Death(how=how, at=datetime.fromisoformat(state["FinishedAt"]).timestamp())
        elif self._inner is None and _is_ours(int(state["Pid"]), self._container):
            self._inner = ProcessMeter(self.name, int(state["Pid"]))
            # Its shortcomings are told once, in one list.
            self._inner.missing = self.missing
        elif self._inner is None:
            self._miss(
                "descriptors and context switches: its processes cannot be seen from here, and "
                "Docker does not tell"
            )

    def log(self) -> str:
        """See ``Meter``."""
        text = self._ask(
            lambda api: api.logs(self._container, since=int(self._began), tail=1000), "its log"
        )
        return "" if text is None else text.decode("utf-8", "replace")

    def close(self) -> None:
        """See ``Meter``."""
        self._opened.close()

    def _ask(self, question: Callable[[Any], T], what: str) -> T | None:
        try:
            if self._api is None:
                self._api = self._opened.enter_context(connect(REQUEST_SECONDS)).api
            return question(self._api)
        except NotFound:
            self._death = self._death or Death(how="removed from outside")
        except StackError as error:
            self._miss(f"{what}: {error}")
        except DOCKER_ERRORS as error:
            self._miss(f"{what}: {explain(error)}")
        return None

    def _miss(self, what: str) -> None:
        if what not in self.missing:
            self.missing.append(what)


def _droppable(stats: Mapping[str, int]) -> int:
    """Pages of files that nobody has used lately: as ``docker stats``, they count as no memory."""
    return stats.get("total_inactive_file", stats.get("inactive_file", 0))


def _is_ours(pid: int, container: str) -> bool:
    """Whether this process id of the daemon's machine is one of this machine, and that container's."""
    try:
        return container in Path(f"/proc/{pid}/cgroup").read_text("utf-8", "replace")
    except OSError:
        return False
