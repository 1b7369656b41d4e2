"""Who removes containers when the test process is dead? The guard runs this module.

``python -m pytest_certload.stack.containers.cleanup RUN``
"""

from __future__ import annotations

import sys
import time

from .daemon import connect, remove_all

__all__ = ["main"]

REQUEST_SECONDS = 20.0
# A request to make a container that was under way when its sender died is still carried out;
# nothing announces its end, so we look a second time.
SECOND_LOOK_SECONDS = 1.0


def main(run: str) -> None:
    """Remove everything that carries the label of ``run``."""
    with connect(REQUEST_SECONDS) as client:
        remove_all(client, run)
        time.sleep(SECOND_LOOK_SECONDS)
        remove_all(client, run)


if __name__ == "__main__":
    main(sys.argv[1])
