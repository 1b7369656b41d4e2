"""What the page of findings says of certctl is what the reference server copies, too."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FINDINGS = Path("tests/findings/test_certctl_findings.py")
PAGE = ROOT / "docs" / "certctl-findings.md"


def names() -> set[str]:
    return set(re.findall(r"^async def (test_\w+)", (ROOT / FINDINGS).read_text("utf-8"), re.M))


def test_the_reference_server_has_them(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "scale"),
            *(str(FINDINGS), "--certload-stack=embedded", f"--certload-results={tmp_path}"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == pytest.ExitCode.OK, done.stdout + done.stderr
    assert f"{len(names())} passed" in done.stdout


def test_the_page_names_the_test_of_each() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE.read_text("utf-8")))
    assert names() <= named
