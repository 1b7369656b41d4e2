"""On which machine was it measured? The facts without which figures of two runs mean nothing together."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["Machine", "this_machine"]

_GIBIBYTE = 1 << 30
_CPU_NAMES = ("model name", "Model", "cpu model")
_NOISE = re.compile(r"\((?:r|tm|c)\)|\bcpu\b|\bprocessor\b|@", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What of a machine decides how fast it is, and nothing that names it.

    Attributes:
        cpu: The processor's model: how fast a core is.
        cores: That this process may use: generator, server and Postgres share them.
        memory_gib: Whole gibibytes, rounded: what Postgres can keep in caches. The kernel keeps a little
            for itself, and another release a little more.
        system: The kernel's family, such as ``Linux``: its scheduler, timers and network. Not its release,
            which every update of a CI image changes.
        python: Implementation and minor version, such as ``CPython 3.11``: what the generator, and a server
            in Python, run on.
    """

    cpu: str
    cores: int
    memory_gib: int
    system: str
    python: str

    @property
    def folder(self) -> str:
        """All of it as a folder's name, such as ``intel-xeon-2.90ghz-2cpu-8gib-linux-cpython3.11``."""
        cpu = _slug(_NOISE.sub(" ", self.cpu)) or "unknown"
        python = _slug(self.python).replace("-", "", 1)
        return f"{cpu}-{self.cores}cpu-{self.memory_gib}gib-{_slug(self.system)}-{python}"

    def __str__(self) -> str:
        return f"{self.cpu}, {self.cores} CPUs, {self.memory_gib} GiB, {self.system}, {self.python}"

    def facts(self) -> dict[str, str]:
        """For ``RunRecord.environment``; ``from_facts`` is the inverse."""
        return {f"machine_{name}": str(value) for name, value in asdict(self).items()}

    @classmethod
    def from_facts(cls, facts: Mapping[str, str]) -> Machine | None:
        """The machine of a record; None: the record is older than machines in records."""
        try:
            return cls(
                cpu=facts["machine_cpu"],
                cores=int(facts["machine_cores"]),
                memory_gib=int(facts["machine_memory_gib"]),
                system=facts["machine_system"],
                python=facts["machine_python"],
            )
        except KeyError:
            return None


def this_machine() -> Machine:
    """The machine that this runs on."""
    return Machine(
        cpu=_cpu(),
        cores=_cores(),
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIBIBYTE),
        system=platform.system(),
        python=f"{platform.python_implementation()} {sys.version_info[0]}.{sys.version_info[1]}",
    )


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu(description: Path = Path("/proc/cpuinfo")) -> str:
    """The model in the kernel's description; other systems and architectures may name none."""
    text = description.read_text("utf-8") if description.exists() else ""
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in _CPU_NAMES and value.strip():
            return " ".join(value.split())
    return platform.processor() or platform.machine()


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.")
