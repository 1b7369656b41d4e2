from __future__ import annotations

from pathlib import Path

import pytest

from bench.stamper import build_stamper, find_compiler


@pytest.fixture(scope="session")
def compiler() -> str:
    found = find_compiler()
    if found is None:
        pytest.skip("needs a C compiler")
    return found


@pytest.fixture(scope="session")
def stamper_program(compiler: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_stamper(tmp_path_factory.mktemp("stamper"))
