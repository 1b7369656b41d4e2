"""How may a scenario be called? Files, labels and options carry the name."""

from __future__ import annotations

import hashlib
import re

from pytest_certload.errors import ConfigurationError

__all__ = ["LONGEST", "check_scenario_name", "name_of_test"]

#: Characters. A file's name may have 255 octets, and some of them are ours.
LONGEST = 120
# A file that begins with a dot is being written, or hidden.
_NAME = re.compile(rf"(?!\.)[A-Za-z0-9_.-]{{1,{LONGEST}}}")


def check_scenario_name(name: str) -> None:
    """Refuse what cannot be a scenario's name.

    Raises:
        ConfigurationError: It cannot.
    """
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"name: {name!r} is no scenario name; use letters, digits, -, _ and dots that are not in front, "
            f"at most {LONGEST} in all"
        )


def name_of_test(test: str) -> str:
    """``test_agent_storm[5-a]`` → ``agent-storm-5-a``; a long one is cut, and told from its like by a digest."""
    name = re.sub(r"[^A-Za-z0-9.]+", "-", test.removeprefix("test_")).strip("-.") or "load"
    if len(name) <= LONGEST:
        return name
    digest = hashlib.sha256(test.encode(errors="backslashreplace")).hexdigest()[:8]
    return f"{name[: LONGEST - len(digest) - 1].rstrip('-.')}-{digest}"
