"""How does a result appear on disk? Whole or not at all, and in the place of an earlier run's."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from pytest_certload.errors import ReportError

__all__ = ["not_written", "write_text", "write_whole"]


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let ``write`` fill a new file, and put it in its place once it is complete.

    A link stays one, and what it leads to is replaced. A device or a pipe is written into.

    Args:
        path: Where it is to lie, in a folder that exists.
        write: Given the open binary file.

    Raises:
        OSError: It cannot be written; what lay there before still does.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            write(file)
        return
    path = Path(os.path.realpath(path))
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".certload-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            # mkstemp keeps others out; a report is for everybody the umask lets in.
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(temporary, 0o666 & ~umask)  # noqa: PTH101
            write(file)
        os.replace(temporary, path)  # noqa: PTH105
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)  # noqa: PTH108
        raise


def write_text(path: Path, text: str) -> None:
    """Write a file of UTF-8 with ``write_whole``, and a line's end behind the last line.

    Half a surrogate pair, which a server's JSON may hold, has no UTF-8: the JSON escape of it is written.

    Raises:
        OSError: It cannot be written; what lay there before still does.
    """
    whole = text if text.endswith("\n") else f"{text}\n"
    data = whole.encode(errors="backslashreplace")
    write_whole(path, lambda file: file.write(data))


def not_written(directory: Path, error: OSError) -> ReportError:
    """The error that names the option, the folder, the reason and the remedy."""
    return ReportError(
        f"--certload-results {directory}: the results cannot be written "
        f"({error.strerror or error}); name a folder that is writable and has space left"
    )
