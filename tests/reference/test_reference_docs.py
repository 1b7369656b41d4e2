"""The reference server's page names all that can be switched."""

from __future__ import annotations

import re
from pathlib import Path

from pytest_certload.certctl.reference import config

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference-server.md").read_text("utf-8")


def test_every_fault_stands_there() -> None:
    documented = re.findall(r"^\| `([a-z0-9-]+)` \|", PAGE, re.MULTILINE)
    assert documented == list(config.FAULTS)


def test_every_variable_of_its_own_stands_there() -> None:
    source = Path(config.__file__).read_text("utf-8")
    assert set(re.findall(r"CERTLOAD_REFERENCE_[A-Z]+", source)) == set(
        re.findall(r"^\| `(CERTLOAD_REFERENCE_[A-Z]+)` \|", PAGE, re.MULTILINE)
    )
