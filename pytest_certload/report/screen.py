"""How do lines stay at the bottom of a terminal while others write to it? Drawn, wiped, drawn again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from typing import Any

from .live import Piece

__all__ = ["Screen"]

#: Two lines need a terminal that has room for them, and for what they must not scroll away.
_LEAST_HEIGHT = 5


class Screen:
    """A line or two that are rewritten in place.

    While they stand there, whoever writes by pytest's writer has them wiped first: nothing is ever
    written behind or over them, and nothing of anybody else is wiped.

    Args:
        writer: pytest's terminal writer.
    """

    def __init__(self, writer: Any) -> None:
        self._writer = writer
        self._file: Any = None
        self._lengths: list[int] = []

    @property
    def shown(self) -> bool:
        """Whether lines stand there."""
        return self._file is not None

    def size(self) -> tuple[int, int]:
        """Columns and rows of the terminal as it is now."""
        try:
            size = os.get_terminal_size((self._file or self._writer._file).fileno())
        except (OSError, ValueError):
            size = os.terminal_size((0, 0))
        if not size.columns or not size.lines:
            size = shutil.get_terminal_size()
        return size.columns, size.lines

    def draw(self, lines: Sequence[Sequence[Piece]]) -> None:
        """Show lines in place of those before; they must be narrower than the terminal."""
        columns, rows = self.size()
        if rows < _LEAST_HEIGHT:
            lines = lines[:1]
        if self._file is None:
            self._file = self._writer._file
            self._writer._file = _Curtain(self._file, self.wipe)
            begin = ""
        else:
            begin = self._to_begin(columns)
        markup: Callable[..., str] = self._writer.markup
        text = "\n".join(
            "".join(markup(part, **({colour: True} if colour else {})) for part, colour in line)
            for line in lines
        )
        self._lengths = [sum(len(part) for part, _ in line) for line in lines]
        # As pytest does: what a terminal cannot show must not end a load.
        encoding = getattr(self._file, "encoding", None) or "ascii"
        self._file.write(begin + text.encode(encoding, "replace").decode(encoding))
        self._file.flush()

    def wipe(self) -> None:
        """Leave the terminal as it was before the lines; the next ``draw`` begins where it is then."""
        if self._file is None:
            return
        columns, _ = self.size()
        file, self._file = self._file, None
        self._writer._file = file
        file.write(self._to_begin(columns))
        file.flush()

    def _to_begin(self, columns: int) -> str:
        if max(self._lengths) >= columns:
            # It has become narrower, and nobody knows where the terminal has put the lines.
            return "\r\n"
        up = f"\x1b[{len(self._lengths) - 1}A" if len(self._lengths) > 1 else ""
        return f"\r{up}\x1b[J"


class _Curtain:
    """A file that wipes the lines before anything is written to it."""

    def __init__(self, file: Any, wipe: Callable[[], None]) -> None:
        self._file = file
        self._wipe = wipe

    def write(self, text: str) -> int:
        """Write, where the lines were."""
        self._wipe()
        return int(self._file.write(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
