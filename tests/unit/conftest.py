from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is written whole or not at all goes to a device that is full."""
    device = Path("/dev/full")
    if not device.exists():
        pytest.skip("needs /dev/full, which this system does not have")
    full = os.open(device, os.O_WRONLY)
    real = os.fdopen

    def fdopen(descriptor: int, *args: Any, **kwargs: Any) -> Any:
        os.dup2(full, descriptor)
        return real(descriptor, *args, **kwargs)

    monkeypatch.setattr("pytest_certload.report.whole_file.os.fdopen", fdopen)
    yield
    os.close(full)
