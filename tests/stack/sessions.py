"""Sessions of pytest that are processes of their own, and how they end."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

__all__ = ["exit_code_of"]


def exit_code_of(session: subprocess.Popen[str], log: Path, patience: float = 120) -> int:
    """How it ends; where it does not, what it said and what all its threads do."""
    try:
        return session.wait(patience)
    except subprocess.TimeoutExpired:
        # At which pytest has the stacks written.
        session.send_signal(signal.SIGABRT)
        session.wait(60)
        return pytest.fail(f"it did not end:\n{log.read_text()}")
