"""When did requests really come? A text file of recorded times, one a line."""

from __future__ import annotations

import re
from datetime import datetime
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pytest_certload.errors import ConfigurationError

__all__ = ["read_recording"]

_SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?")
_INT64_MAX = 2**63 - 1


def read_recording(path: Path) -> npt.NDArray[np.int64]:
    """The arrivals of a recording.

    Args:
        path: Text, one time a line: seconds, or ISO 8601 with a time zone. Empty lines and lines that
            begin with ``#`` are passed over.

    Returns:
        int64 nanoseconds since the first one, ascending.

    Raises:
        ConfigurationError: The file cannot be read, a line is not a time, or times go back.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigurationError(f"the recording {path} cannot be read: {reason}") from error
    times: list[int] = []
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        time = _nanoseconds(text)
        if time is None:
            raise ConfigurationError(
                f"{path}:{number}: {text[:60]!r} is not a time; write seconds such as 12.345, "
                "or ISO 8601 with a time zone such as 2026-01-31T12:00:00.123Z"
            )
        if times and time < times[-1]:
            raise ConfigurationError(
                f"{path}:{number}: {text!r} is earlier than the line before; sort the recording"
            )
        times.append(time)
    if not times:
        raise ConfigurationError(f"the recording {path} holds no time")
    if times[-1] - times[0] > _INT64_MAX // 2:
        raise ConfigurationError(f"the recording {path} is longer than a century")
    first = times[0]
    return np.fromiter((time - first for time in times), np.int64, len(times))


def _nanoseconds(text: str) -> int | None:
    if _SECONDS.fullmatch(text):
        return int(Fraction(text) * 1_000_000_000)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        return None
    whole = int(moment.replace(microsecond=0).timestamp())
    return whole * 1_000_000_000 + moment.microsecond * 1_000
