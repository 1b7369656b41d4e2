"""Does the machine have what the load will need? Asked before it begins, so that it does not end midway."""

from __future__ import annotations

import resource
from collections.abc import Callable, Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import TypeVar

from pytest_certload.engine.executors import Executor
from pytest_certload.engine.vus import VuExecutor
from pytest_certload.errors import ConfigurationError
from pytest_certload.proof.preflight import Check, Preflight
from pytest_certload.samples import ROW
from pytest_certload.stack.hosts import is_loopback
from pytest_certload.stats.sketch import MOST_OCTETS
from pytest_certload.units import Duration, Rate

__all__ = [
    "arrival_rate",
    "check_descriptors",
    "check_memory",
    "check_ports",
    "descriptors",
    "memory",
    "ports",
    "together",
]

T = TypeVar("T", int, float)


#: Descriptors for everything else: files, the event loop, the database.
_OTHER_DESCRIPTORS = 64
#: While the figures are made, rows and columns are there at once.
_COPIES = 2
#: A due time in the schedule.
_DUE = 8
#: Kinds of time that there is a sketch of for each step, at most.
_KINDS = 8
#: Seconds for which a port stays taken after its connection was closed (TIME_WAIT), and the same
#: where the kernel may use it again (net.ipv4.tcp_tw_reuse).
_TIME_WAIT = 60
_TIME_WAIT_REUSED = 1
_KERNEL = Path("/proc/sys/net/ipv4")


def check_descriptors(connections: int, *, alarms: int = 0) -> str:
    """Make sure that so many connections can be open at once.

    Args:
        connections: The most at once.
        alarms: VUs that may pause at once, whose alarms are descriptors, too.

    Returns:
        What there is.

    Raises:
        ConfigurationError: The process may not have so many descriptors.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + alarms + _OTHER_DESCRIPTORS
    if limit != resource.RLIM_INFINITY and wanted > limit:
        pausing = f" and {alarms:,} VUs that pause" if alarms else ""
        raise ConfigurationError(
            f"max_in_flight: {connections:,} connections{pausing} want {wanted:,} "
            f"file descriptors and this process may have {limit:,}; raise the limit (ulimit -n), or "
            "allow fewer in flight"
        )
    there = "any number" if limit == resource.RLIM_INFINITY else f"{limit:,}"
    return f"{wanted:,} wanted, {there} there"


def check_ports(
    slots: int,
    *,
    connections: str,
    rate: float | None,
    iterations: int | None,
    loopback: bool,
    kernel: Path = _KERNEL,
) -> str:
    """Make sure that there is a local port for each connection, those just closed included (Linux).

    Args:
        slots: Most iterations at once.
        connections: As in ``RunOptions``.
        rate: Iterations a second at most; None: the server's speed decides.
        iterations: How many there will be; None likewise.
        loopback: Whether the server is on this machine.
        kernel: Where the kernel's settings are read.

    Returns:
        What there is.

    Raises:
        ConfigurationError: There are fewer.
    """
    try:
        low, high = (kernel / "ip_local_port_range").read_text("ascii").split()
        reuse = (kernel / "tcp_tw_reuse").read_text("ascii").strip()
    except OSError:
        return "not known on this system"
    there = int(high) - int(low) + 1
    wanted, kept = slots, ""
    if connections == "fresh" and rate is not None and iterations is not None:
        seconds = _TIME_WAIT_REUSED if reuse == "1" or (reuse == "2" and loopback) else _TIME_WAIT
        wanted += min(ceil(rate * seconds), iterations)
        kept = f", as one stays taken for {seconds} s after its connection was closed"
    if wanted > there:
        # A server that closes first keeps the port's end itself: so many is the most.
        raise ConfigurationError(
            f"connections: {wanted:,} local ports may be wanted{kept}, and there are {there:,}; offer "
            "less, keep connections (connections='keep-alive'), or widen "
            "net.ipv4.ip_local_port_range or set net.ipv4.tcp_tw_reuse=1 (sysctl)"
        )
    return f"{wanted:,} wanted, {there:,} there"


def check_memory(
    planned: Mapping[str, int | None], say: Callable[[str], None], *, keep_samples: bool = True
) -> str:
    """Say what memory the samples will need, and make sure that it is there.

    Args:
        planned: For each scenario how many iterations become due; None: the server's speed decides.
        say: Told a line.
        keep_samples: Whether every sample is kept, or figures alone.

    Returns:
        What there is.

    Raises:
        ConfigurationError: There is less.
    """
    for name, count in planned.items():
        say(f"{name}: {_will_take(count) if keep_samples else _will_sketch(count)}")
    known = {name: count for name, count in planned.items() if count is not None}
    iterations = sum(known.values())
    # Scenarios that run together take it together.
    if keep_samples:
        what, need = "samples", iterations * ROW.itemsize * _COPIES
    else:
        what, need = "schedule", iterations * _DUE
    free = _available_memory()
    if free is None:
        return "not known on this system"
    if need > free:
        raise ConfigurationError(
            f"{', '.join(known)}: {_size(need)} of memory are wanted for the {what} of {iterations:,} "
            f"iterations, and {_size(free)} are there; offer less, or for a shorter time"
        )
    return f"{_size(free)} there"


def _will_take(count: int | None) -> str:
    size = ROW.itemsize
    if count is None:
        return f"samples take {size} B an iteration and step, twice that at the end"
    return (
        f"{count:,} iterations are due; samples take {_size(count * size)}, as much again for each step, "
        "and twice that at the end"
    )


def _will_sketch(count: int | None) -> str:
    also = f"; the schedule of {count:,} iterations takes {_size(count * _DUE)}" if count else ""
    return (
        "samples are sketched and not kept; figures take at most "
        f"{_size(_KINDS * MOST_OCTETS)} a step, however long the run{also}"
    )


def _size(octets: int) -> str:
    return f"{octets / 2**20:,.1f} MiB" if octets >= 2**20 else f"{octets / 2**10:,.1f} KiB"


def _available_memory() -> int | None:
    """Octets that can be had without swapping (Linux); None elsewhere."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


# The same as checks before a load.


def memory(
    planned: Mapping[str, int | None], announce: Callable[[str], None], *, keep_samples: bool
) -> Check:
    """The check whether there is memory for the samples; arguments as for ``check_memory``."""

    async def memory(_: Preflight) -> str:
        return check_memory(planned, announce, keep_samples=keep_samples)

    return memory


def descriptors(executors: Sequence[Executor]) -> Check:
    """The check whether all slots can have a connection, and each VU that pauses an alarm."""
    alarms = sum(e.alarms for e in executors if isinstance(e, VuExecutor))

    async def descriptors(preflight: Preflight) -> str:
        return check_descriptors(preflight.slots, alarms=alarms)

    return descriptors


async def ports(preflight: Preflight) -> str:
    """The check whether all connections can have a local port."""
    return check_ports(
        preflight.slots,
        connections=preflight.connections,
        rate=preflight.rate,
        iterations=preflight.iterations,
        loopback=is_loopback(preflight.base_url),
    )


def arrival_rate(executor: Executor) -> float | None:
    """Iterations that become due a second, on average; None when the server's speed decides."""
    rate: Rate | None = getattr(executor, "rate", None)
    if rate is not None:
        return float(rate.per_second)
    if not executor.scheduled or executor.planned is None:
        return None
    return executor.planned / Duration(executor.warm_up + executor.duration).total_seconds


def together(numbers: Sequence[T | None]) -> T | None:
    """The sum; None when one is not known."""
    known = [number for number in numbers if number is not None]
    return sum(known[1:], known[0]) if len(known) == len(numbers) else None
