from __future__ import annotations

from pathlib import Path

import pytest

from bench.stamper import build_stamper


@pytest.fixture(scope="session")
def stamper_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_stamper(tmp_path_factory.mktemp("stamper"))
