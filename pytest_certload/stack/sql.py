"""Where does one SQL statement end and the next begin?

Postgres says where in *a statement* it found an error, and runs one statement at a time for us;
so a file has to be cut at the semicolons that really end statements.  The lexical rules are those
of "Lexical Structure" in the Postgres manual, with ``standard_conforming_strings`` on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Comment", "Script", "SqlSyntaxError", "Statement", "split"]

# A string literal goes on after white space that holds a line break, in the same escape mode.
_CONTINUED = r"(?:[ \t\f\v]|--[^\n\r]*)*[\n\r](?:[ \t\n\r\f\v]|--[^\n\r]*[\n\r])*"
_ESCAPED = r"'(?:[^'\\]++|\\.|'')*+'"

_TOKEN = re.compile(
    rf"""
      (?P<space>      [ \t\n\r\f\v]+ )
    | (?P<comment>    --[^\n\r]* )
    | (?P<block>      /\* )
    | (?P<escaped>    [eE]{_ESCAPED}(?:{_CONTINUED}{_ESCAPED})* )
    | (?P<string>     '(?:[^']++|'')*+' )
    | (?P<identifier> "(?:[^"]++|"")*+" )
    | (?P<word>       [A-Za-z_\u0080-\U0010ffff][A-Za-z0-9_$\u0080-\U0010ffff]* )
    | (?P<dollar>     \$(?:[A-Za-z_\u0080-\U0010ffff][A-Za-z0-9_\u0080-\U0010ffff]*)?\$ )
    | (?P<number>     [0-9][A-Za-z0-9_]* )
    | (?P<meta>       \\ )
    | (?P<open>       [(\[] )
    | (?P<close>      [)\]] )
    | (?P<end>        ; )
    | (?P<unclosed>   ['"] )
    | (?P<other>      . )
    """,
    re.VERBOSE | re.DOTALL,
)
_BLOCK_EDGE = re.compile(r"/\*|\*/")
_ROUTINES = ("FUNCTION", "PROCEDURE")
_UNCLOSED = {"'": "string", '"': "quoted identifier"}


class SqlSyntaxError(ValueError):
    """The text cannot be cut into statements.

    Attributes:
        offset: Where the trouble starts, in characters from 0.
    """

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One statement.

    Attributes:
        text: All of it, with the white space and comments before it and the semicolon.
        start: Offset of its first word, in characters from 0 in the file.
        offset: Offset of ``text`` in the file.
        words: Its first words that are no comment, in upper case, at most five.
    """

    text: str
    start: int
    offset: int
    words: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Comment:
    """A comment of one line.

    Attributes:
        text: With the two dashes.
        offset: Where it stands, in characters from 0 in the file.
    """

    text: str
    offset: int


@dataclass(frozen=True, kw_only=True)
class Script:
    """A file, cut.

    Attributes:
        statements: The statements.
        comments: The comments of one line, wherever they stand.
        rest: White space and comments after the last statement; the statements' texts and the
            rest, joined, are the file.
    """

    statements: tuple[Statement, ...]
    comments: tuple[Comment, ...]
    rest: str


@dataclass(frozen=True, kw_only=True)
class _Token:
    kind: str
    start: int
    end: int


def split(text: str) -> Script:
    """Cut a script into statements.

    Raises:
        SqlSyntaxError: A quote or comment never ends, or there is a psql meta-command.
    """
    statements: list[Statement] = []
    comments: list[Comment] = []
    offset = 0
    start: int | None = None
    words: list[str] = []
    depth = 0
    nesting = _RoutineBody()
    for token in _tokens(text):
        if token.kind == "comment":
            comments.append(Comment(text=text[token.start : token.end], offset=token.start))
        if token.kind in ("space", "comment", "block"):
            continue
        if token.kind == "end" and depth <= 0 and not nesting.open:
            if start is not None:
                statements.append(
                    Statement(
                        text=text[offset : token.end],
                        start=start,
                        offset=offset,
                        words=tuple(words),
                    )
                )
                offset = token.end
            start, words, depth, nesting = None, [], 0, _RoutineBody()
            continue
        start = token.start if start is None else start
        depth += {"open": 1, "close": -1}.get(token.kind, 0)
        if token.kind == "word":
            word = text[token.start : token.end].upper()
            nesting.see(word, words)
            if len(words) < 5:
                words.append(word)
    rest = text[offset:]
    if start is not None:
        statements.append(Statement(text=rest, start=start, offset=offset, words=tuple(words)))
        rest = ""
    return Script(statements=tuple(statements), comments=tuple(comments), rest=rest)


class _RoutineBody:
    """Whether we are between BEGIN ATOMIC and its END, the one place with bare semicolons."""

    def __init__(self) -> None:
        self._depth = 0
        self._previous = ""

    @property
    def open(self) -> bool:
        return self._depth > 0

    def see(self, word: str, first_words: list[str]) -> None:
        is_routine = first_words[:1] == ["CREATE"] and any(w in _ROUTINES for w in first_words)
        if is_routine:
            if self._depth == 0:
                self._depth = int((self._previous, word) == ("BEGIN", "ATOMIC"))
            elif word == "CASE":
                self._depth += 1
            elif word == "END":
                self._depth -= 1
        self._previous = word


def _tokens(text: str) -> Iterator[_Token]:
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        # The last alternative takes any character.
        assert match is not None
        kind, end = str(match.lastgroup), match.end()
        if kind == "block":
            end = _end_of_block_comment(text, position)
        elif kind == "dollar":
            end = text.find(match[0], end) + len(match[0])
            if end < match.end():
                raise SqlSyntaxError(f"the quote {match[0]} never ends", position)
        elif kind == "unclosed":
            raise SqlSyntaxError(f"a {_UNCLOSED[match[0]]} never ends", position)
        elif kind == "meta":
            command = text[position:].split(maxsplit=1)[0]
            raise SqlSyntaxError(
                f"{command} is a command of psql and no SQL; write it as SQL or leave it out",
                position,
            )
        yield _Token(kind=kind, start=position, end=end)
        position = end


def _end_of_block_comment(text: str, start: int) -> int:
    depth = 0
    for edge in _BLOCK_EDGE.finditer(text, start):
        depth += 1 if edge[0] == "/*" else -1
        if depth == 0:
            return edge.end()
    raise SqlSyntaxError("a comment /* never ends", start)
