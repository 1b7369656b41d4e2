"""The plugin for inner sessions is there in each of them, in whatever process it runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

__all__ = ["unhurried"]


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inner sessions are not failed by a machine that is busy."""
    folder = str(Path(__file__).parent)
    monkeypatch.setenv("PYTEST_PLUGINS", "unhurried")
    paths = filter(None, [folder, os.environ.get("PYTHONPATH")])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    monkeypatch.syspath_prepend(folder)
