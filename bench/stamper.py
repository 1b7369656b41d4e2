"""When did the requests really arrive? Builds and runs ``stamper.c``, and reads what it wrote."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from bench.errors import BenchError

__all__ = ["Faults", "Stamper", "Stamps", "build", "build_stamper", "find_compiler", "read_stamps"]

SOURCE = Path(__file__).with_name("stamper.c")
_MAGIC = b"CLSTAMP1"
_COUNTS = 6
_END_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Faults:
    """What is wrong with the server, by default nothing.

    Attributes:
        service_us: Every answer is delayed by so many microseconds.
        concurrency: So many requests are worked on at once, others queue; 0: no limit. With it the
            server can do ``concurrency / service_us`` requests a microsecond.
        stall_at: The server stops so many seconds after its first request.
        stall_for: For so many seconds; 0: it never stops.
    """

    service_us: int = 0
    concurrency: int = 0
    stall_at: float = 0.0
    stall_for: float = 0.0

    @property
    def arguments(self) -> list[str]:
        """The same for the server's command line."""
        return [
            f"--service-us={self.service_us}",
            f"--concurrency={self.concurrency}",
            f"--stall-at={self.stall_at}",
            f"--stall-for={self.stall_for}",
        ]


@dataclass(frozen=True, kw_only=True, eq=False)
class Stamps:
    """What the server saw. Times are nanoseconds of CLOCK_MONOTONIC, in order of arrival.

    Attributes:
        arrival: When each request was complete.
        written: When its answer had been handed to the kernel; 0: it could not be.
        number: The request's own number (its X-Seq header), -1 without one.
        connections: How many were accepted.
        peak_connections: Most that were open at once.
        refused: Requests that were no good HTTP, or too many.
    """

    arrival: npt.NDArray[np.int64]
    written: npt.NDArray[np.int64]
    number: npt.NDArray[np.int64]
    connections: int
    peak_connections: int
    refused: int

    def __len__(self) -> int:
        return len(self.arrival)

    @property
    def service(self) -> npt.NDArray[np.int64]:
        """How long the server had each request that it answered, nanoseconds."""
        answered = self.written > 0
        return self.written[answered] - self.arrival[answered]


def find_compiler() -> str | None:
    """The path of a C compiler, None where there is none."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def build(source: Path, folder: Path) -> Path:
    """Compile a program of one file into a folder and return its path.

    Raises:
        BenchError: There is no C compiler, or it refuses the source.
    """
    compiler = find_compiler()
    if compiler is None:
        raise BenchError("a C compiler is needed and there is no cc, gcc or clang")
    program = folder / source.stem
    flags = ["-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror"]
    command = [compiler, *flags, "-o", str(program), str(source)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise BenchError(f"{' '.join(command)} failed:\n{result.stderr.rstrip()}")
    return program


def build_stamper(folder: Path) -> Path:
    """Compile the server into a folder and return the program's path; errors as for ``build``."""
    return build(SOURCE, folder)


def read_stamps(path: Path) -> Stamps:
    """Read what the server wrote.

    Raises:
        BenchError: The file is missing or broken, or the server ran out of room for stamps.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BenchError(f"the server wrote no stamps: {error}") from error
    head = len(_MAGIC) + 8 * _COUNTS
    if not data.startswith(_MAGIC) or len(data) < head or (len(data) - head) % 24:
        raise BenchError(f"{path} does not hold stamps")
    counts = np.frombuffer(data, np.int64, _COUNTS, offset=len(_MAGIC)).tolist()
    kept, _, accepted, peak, refused, lost = counts
    columns = np.frombuffer(data, np.int64, offset=head).reshape(-1, 3)
    if len(columns) != kept:
        raise BenchError(f"{path} holds {len(columns):,} stamps instead of {kept:,}")
    if lost:
        raise BenchError(f"the server had no room for {lost:,} stamps; give it more --records")
    order = np.argsort(columns[:, 0], kind="stable")
    arrival, written, number = columns[order].T
    return Stamps(
        arrival=arrival,
        written=written,
        number=number,
        connections=accepted,
        peak_connections=peak,
        refused=refused,
    )


class Stamper:
    """A running server: ``with Stamper(program, …) as server:``; gone after the block.

    Args:
        program: What ``build_stamper`` made.
        dump: Where it writes its stamps.
        records: For so many it has room.
        faults: What is wrong with it.

    Raises:
        BenchError: It does not start.
    """

    def __init__(
        self, program: Path, *, dump: Path, records: int = 100_000, faults: Faults | None = None
    ) -> None:
        self._dump = dump
        arguments = [f"--dump={dump}", f"--records={records}", *(faults or Faults()).arguments]
        self._process = subprocess.Popen(
            # The server wants names and values apart.
            [str(program), *(word for pair in arguments for word in pair.split("=", 1))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        port = self._process.stdout.readline().strip()
        if not port.isdecimal():
            self._close()
            raise BenchError(f"the stamping server did not start: exit code {self.exit_code}")
        self.port = int(port)

    @property
    def base_url(self) -> str:
        """Where it listens: ``http://127.0.0.1:port``."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def stop(self) -> Stamps:
        """End it and return its stamps.

        Raises:
            BenchError: It did not end well, or its stamps cannot be read.
        """
        self._process.terminate()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            raise BenchError("the stamping server did not end when it was told to") from None
        if self._process.returncode:
            raise BenchError(f"the stamping server ended with {self._process.returncode}")
        return read_stamps(self._dump)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()

    def _close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
