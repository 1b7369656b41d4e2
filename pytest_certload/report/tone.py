"""Which colour does a line have where there are colours? Text that carries it, for whoever can show it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

__all__ = ["Toned", "in_ascii", "indented", "wrapped"]


class Toned(str):
    """A line with a colour: a markup of pytest's terminal writer, or nothing. A file sees the text alone.

    Attributes:
        tone: Such as ``green``.
    """

    tone: str

    def __new__(cls, text: str, tone: str = "") -> Toned:
        """A line of that text."""
        line = super().__new__(cls, text)
        line.tone = tone
        return line


def _tone(line: str) -> str:
    return line.tone if isinstance(line, Toned) else ""


#: What stands for letters that a terminal may not have.
_ASCII = str.maketrans(
    {"µ": "u", "×": "x", "–": "-", "…": "...", "±": "+-", "≥": ">=", "✓": "ok", "✗": "FAIL"}
)


def in_ascii(line: str) -> str:
    """The same, in its colour, for a terminal that has nothing but ASCII."""
    text = line.translate(_ASCII).encode("ascii", "replace").decode("ascii")
    return Toned(text, _tone(line))


def indented(lines: Iterable[str], by: str = "  ") -> Iterator[str]:
    """Lines that stand further to the right, in their colours."""
    return (Toned(f"{by}{line}", _tone(line)) for line in lines)


def wrapped(lines: Iterable[str], width: int) -> Iterator[str]:
    """Lines of which those that are too long go on beneath, further to the right; words stay whole."""
    for line in lines:
        if len(line) <= width:
            yield line
            continue
        margin = len(line) - len(line.lstrip()) + 4
        for part in textwrap.wrap(
            line,
            width,
            subsequent_indent=" " * min(margin, width // 2),
            break_long_words=False,
            break_on_hyphens=False,
        ):
            yield Toned(part, _tone(line))
