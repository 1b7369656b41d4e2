"""What a stack leaves is removed by its guard, and what could not be is told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pytest_certload.errors import StackError
from pytest_certload.stack.guard import remove_directory
from pytest_certload.stack.processes import open_workspace


def test_nothing_is_left() -> None:
    with open_workspace() as workspace:
        (workspace.directory / "file").touch()
    assert not workspace.directory.exists()


def test_what_could_not_be_removed_is_told_and_the_rest_is_gone(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    command = [sys.executable, "-c", "raise SystemExit(7)"]

    def leave_something() -> None:
        with open_workspace() as workspace:
            workspace.guard_directory(other)
            workspace.guard_command(command, {})

    with pytest.raises(StackError, match=r"completely \(command: .* exit status 7\.\); look for"):
        leave_something()
    assert not other.exists()


def test_a_directory_that_is_still_written_to_is_removed_when_that_is_over(tmp_path: Path) -> None:
    folder = tmp_path / "busy"
    folder.mkdir()
    program = """
import pathlib, sys
folder = pathlib.Path(sys.argv[1])
print("ready", flush=True)
while True:
    for number in range(50):
        (folder / str(number)).touch()
    for path in folder.iterdir():
        path.unlink(missing_ok=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        try:
            remove_directory({"path": str(folder)})
            assert not folder.exists()
            # It ends when its folder is gone.
            assert writer.wait(60) == 1
        finally:
            writer.kill()
    assert not folder.exists()
