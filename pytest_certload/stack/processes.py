"""Which processes and directories belong to the stack, and how do they end?

``Workspace`` is the run's temporary directory together with its guard (see ``guard.py``);
``Child`` is a process started in it, in a session of its own, so that a Ctrl-C at the terminal
reaches the test process alone and the children end in the order in which teardown stops them.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pytest_certload.errors import StackError

from . import guard as guard_script
from .interruptions import keeping_interruptions

__all__ = ["Account", "Child", "Workspace", "last_lines", "open_workspace"]

GUARD_SECONDS = 90.0
#: Where some Pythons find the libraries they are made of.
_LOADER = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
LOG_LINES = 15


@dataclass(frozen=True, kw_only=True)
class Account:
    """The unprivileged user that a child runs as."""

    name: str
    uid: int
    gid: int


class Child:
    """A process of the stack, leader of its own process group.

    Attributes:
        log_path: Where its standard output and standard error go.
    """

    def __init__(
        self,
        popen: subprocess.Popen[bytes],
        *,
        workspace: Workspace,
        key: str,
        log_path: Path,
        stop_signal: signal.Signals,
    ) -> None:
        self._popen = popen
        self._workspace = workspace
        self._key = key
        self._stop_signal = stop_signal
        self.log_path = log_path

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._popen.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._popen.poll()

    def wait(self, timeout: float) -> int | None:
        """Wait for the end: the exit code, or None when ``timeout`` seconds did not suffice."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._popen.wait(timeout)
        return None

    def stop(self) -> None:
        """End the process and its group: stop signal, patience, kill signal."""
        if self.exit_code is None:
            self._popen.send_signal(self._stop_signal)
            self.wait(guard_script.STOP_SECONDS)
        # Also after a voluntary end: its own children may still be there.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()
        self._workspace.forget(self._key)

    def log(self) -> str:
        """All that it wrote so far."""
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def last_lines(self) -> str:
        """The end of its log, for an error message."""
        return last_lines(self.log())


def last_lines(log: str) -> str:
    """The last lines of a log, indented, for an error message; says so when there are none."""
    lines = [line for line in log.splitlines() if line.strip()][-LOG_LINES:]
    if not lines:
        return "It wrote nothing to its log."
    return "\n".join(["The last lines of its log:", *(f"  {line[:500]}" for line in lines)])


class Workspace:
    """The run's temporary directory and everything that must not outlive the test process."""

    def __init__(self, directory: Path, pipe: int) -> None:
        self.directory = directory
        self._pipe = pipe

    def forget(self, key: str) -> None:
        """Take an item back from the guard: it is gone already."""
        # A guard that was ended from outside has nothing left to forget, and teardown goes on.
        with contextlib.suppress(BrokenPipeError):
            self._write({"forget": key})

    def end(self) -> None:
        """Tell the guard that nothing more comes, so that it removes what is left."""
        with contextlib.suppress(BrokenPipeError):
            self._write({"end": True})

    def guard_directory(self, path: Path) -> str:
        """Have ``path`` removed in the end.  Returns the key to forget it by."""
        return self._watch({"kind": "directory", "path": str(path)})

    def guard_command(self, argv: Sequence[str], env: Mapping[str, str]) -> str:
        """Have a command run in the end, with exactly the environment ``env``."""
        return self._watch({"kind": "command", "argv": list(argv), "env": dict(env)})

    def spawn(
        self,
        argv: Sequence[str],
        *,
        log_name: str,
        env: Mapping[str, str],
        account: Account | None = None,
        pass_fds: tuple[int, ...] = (),
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> Child:
        """Start a program in the workspace.

        Args:
            argv: The program, by absolute path, and its arguments.
            log_name: File in the workspace that takes its output.
            env: Its whole environment.
            account: The user to become; None = stay who we are.
            pass_fds: Descriptors it inherits.
            stop_signal: What asks it to end; ``SIGKILL`` follows when that does not help.
        """
        key = secrets.token_hex(8)
        specification = {
            "pipe": self._pipe,
            "key": key,
            "signal": int(stop_signal),
            "user": account.uid if account else None,
            "group": account.gid if account else None,
            "directory": str(self.directory),
        }
        log_path = self.directory / log_name
        with log_path.open("wb") as log:
            popen = subprocess.Popen(
                [*_guard_command("spawn"), json.dumps(specification), *argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(env),
                pass_fds=(self._pipe, *pass_fds),
                start_new_session=True,
            )
        return Child(popen, workspace=self, key=key, log_path=log_path, stop_signal=stop_signal)

    def _watch(self, item: dict[str, object]) -> str:
        key = secrets.token_hex(8)
        try:
            self._write({"key": key, **item})
        except BrokenPipeError as error:
            raise StackError(
                "The guard process of the stack was ended from outside; without it a crash would "
                "leave servers behind, so the run stops. Start it again."
            ) from error
        return key

    def _write(self, message: Mapping[str, object]) -> None:
        line = json.dumps(message).encode() + b"\n"
        while line:
            line = line[os.write(self._pipe, line) :]


def _guard_command(mode: str) -> list[str]:
    # Isolated and without site: neither the environment nor an installed package can break it.
    return [sys.executable, "-I", "-S", str(Path(guard_script.__file__)), mode]


@contextmanager
def open_workspace() -> Iterator[Workspace]:
    """A new temporary directory with its guard; nothing of either is left afterwards.

    Raises:
        StackError: The temporary directory cannot be made, or not everything could be removed.
    """
    try:
        directory = Path(tempfile.gettempdir()) / f"certload-{secrets.token_hex(6)}"
    except OSError as error:
        raise StackError(
            f"There is no temporary directory ({error.strerror or error}); set TMPDIR to a directory that can "
            "be written to."
        ) from error
    reading, writing = os.pipe()
    try:
        guard = subprocess.Popen(
            [*_guard_command("watch"), str(os.getpid())],
            stdin=reading,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            # Without them some Pythons do not start.
            env={name: os.environ[name] for name in _LOADER if name in os.environ},
            start_new_session=True,
        )
    except BaseException:
        os.close(writing)
        raise
    finally:
        os.close(reading)
    workspace = Workspace(directory, writing)
    try:
        key = workspace.guard_directory(directory)
        try:
            # Others may pass through, to the files made for them, but not look around.
            directory.mkdir()
            directory.chmod(0o711)
        except OSError as error:
            raise StackError(
                f"No temporary directory can be made in {directory.parent} ({error.strerror}); "
                "set TMPDIR to a directory that can be written to."
            ) from error
        # Once more than `open_stack` does: daemons are started without a stack, too.
        with keeping_interruptions():
            yield workspace
        # If somebody still writes there, the guard has more patience.
        with contextlib.suppress(OSError):
            shutil.rmtree(directory)
            workspace.forget(key)
    finally:
        # Whatever is still registered now, the guard removes: the way out of every exception.
        workspace.end()
        os.close(writing)
        trouble = _trouble(guard)
        if trouble is not None:
            shutil.rmtree(directory, ignore_errors=True)
    if trouble is not None:
        raise StackError(
            f"The stack could not be removed completely ({trouble}); look for {directory}, for processes "
            "that name it, and for containers with the label certload.run."
        )


def _trouble(guard: subprocess.Popen[bytes]) -> str | None:
    """What the guard could not remove, when it is over; None: nothing is left."""
    try:
        _, said = guard.communicate(timeout=GUARD_SECONDS)
    except subprocess.TimeoutExpired:
        return f"its guard is still at it after {GUARD_SECONDS:g} s"
    finally:
        if guard.stderr is not None:
            guard.stderr.close()
    if guard.returncode == 0:
        return None
    # Commands that it runs may say more than that they failed.
    lines = said.decode(errors="replace").splitlines()
    told = [line for line in lines if line.partition(": ")[0] in guard_script.REMOVERS]
    return "; ".join(told or lines[-1:]) or f"its guard ended with {guard.returncode}"
