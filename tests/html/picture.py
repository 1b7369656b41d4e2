"""Make the pictures of the documentation: ``python -m tests.html.picture results/report.html docs``.

The report must be one of a real run.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.html.browser import Browser, chromium

_WIDTH, _HEIGHT = 1180, 1500


def main(report: Path, folder: Path) -> None:
    """Write ``report.png`` and ``report-dark.png``: the begin of the page in both themes."""
    program = chromium()
    if program is None:
        sys.exit("needs Chromium: apt-get install -y chromium")
    with Browser(program) as browser:
        for scheme, name in (("light", "report.png"), ("dark", "report-dark.png")):
            browser.open(report, width=_WIDTH, height=_HEIGHT, scheme=scheme)
            # On paper there is nothing to press.
            browser.ask("document.getElementById('theme').hidden = true")
            browser.shoot(folder / name, whole=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
