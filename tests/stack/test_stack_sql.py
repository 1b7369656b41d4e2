"""Scripts are cut at the semicolons that end statements, and nowhere else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_certload.stack.sql import SqlSyntaxError, split

PIECES = [
    "SELECT 1",
    "SELECT 'a;b'",
    "SELECT 'it''s;'",
    r"SELECT E'\';'",
    "SELECT 'a'\n';b'",
    'SELECT ";" FROM "a""b;"',
    "SELECT $$a;b$$",
    "DO $body$ BEGIN; $$ ; END $body$",
    "SELECT /* ; /* ; */ ; */ 2",
    "SELECT 3 -- ; not here\n",
    "CREATE RULE r AS ON INSERT TO t DO (DELETE FROM a; DELETE FROM b)",
    "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE 1 WHEN 1 THEN 2 END; END",
    "SELECT a$1$b",
    "SELECT x[1]",
    "SELECT $1",
    "SELECT 'ü;'",
]


@pytest.mark.parametrize("piece", PIECES)
def test_a_statement_stays_whole(piece: str) -> None:
    script = split(f"{piece};SELECT 0;")
    assert [statement.text for statement in script.statements] == [f"{piece};", "SELECT 0;"]


@given(st.lists(st.sampled_from(PIECES)), st.text(" \n\t"), st.booleans())
def test_the_parts_joined_are_the_whole(pieces: list[str], space: str, last: bool) -> None:
    text = space.join(f"{piece};{space}" for piece in pieces) + ("SELECT 9" if last else space)
    script = split(text)
    assert "".join(statement.text for statement in script.statements) + script.rest == text
    assert len(script.statements) == len(pieces) + last
    for statement in script.statements:
        assert text[statement.offset :].startswith(statement.text)
        assert text[statement.start] not in " \n\t"


@given(st.text())
def test_any_text_is_cut_or_refused_at_a_place_in_it(text: str) -> None:
    offset, whole = 0, text
    try:
        script = split(text)
        whole = "".join(statement.text for statement in script.statements) + script.rest
    except SqlSyntaxError as error:
        offset = error.offset
    assert whole == text
    assert 0 <= offset <= len(text)


def test_empty_statements_are_none() -> None:
    assert split(" ; ;; -- nothing\n;").statements == ()


def test_comments_are_kept_with_their_place() -> None:
    script = split("SELECT 1; -- one\n/* -- no */ -- two")
    assert [(comment.text, comment.offset) for comment in script.comments] == [
        ("-- one", 10),
        ("-- two", 29),
    ]


def test_first_words() -> None:
    (statement,) = split("/* x */ create or replace Function f(a) as ''").statements
    assert statement.words == ("CREATE", "OR", "REPLACE", "FUNCTION", "F")


@pytest.mark.parametrize(
    ("text", "message", "offset"),
    [
        ("SELECT 'a", "a string never ends", 7),
        ('SELECT "a', "a quoted identifier never ends", 7),
        ("SELECT $x$ a $$", r"the quote \$x\$ never ends", 7),
        ("SELECT 1; /* a", r"a comment /\* never ends", 10),
        ("SELECT 1;\n\\copy t FROM 'x'", "copy is a command of psql", 10),
    ],
)
def test_what_never_ends_is_named_with_its_place(text: str, message: str, offset: int) -> None:
    with pytest.raises(SqlSyntaxError, match=message) as caught:
        split(text)
    assert caught.value.offset == offset
