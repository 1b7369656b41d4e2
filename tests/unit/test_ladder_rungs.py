from __future__ import annotations

from pathlib import Path

import pytest

from pytest_certload.errors import ConfigurationError
from pytest_certload.ladder.rungs import read_rungs

ROOT = Path(__file__).parents[2]


def rungs_of(folder: Path, text: str) -> Path:
    path = folder / "ladder.toml"
    path.write_text(text, "utf-8")
    return path


def test_what_a_rung_says_to_pytest(tmp_path: Path) -> None:
    first, second = read_rungs(
        rungs_of(
            tmp_path,
            """
            [[rung]]
            name = "as it is"
            [[rung]]
            name = " Tuned: 1 GB! "
            postgres = { Shared_Buffers = "1GB", jit = false, random_page_cost = 1.5 }
            server = { POOL = 10, DEBUG = true }
            """,
        )
    )
    assert (first.name, first.folder, first.options) == ("as it is", "as-it-is", [])
    assert (second.name, second.folder) == ("Tuned: 1 GB!", "tuned-1-gb")
    assert second.options == [
        "--certload-postgres-setting=shared_buffers=1GB",
        "--certload-postgres-setting=jit=off",
        "--certload-postgres-setting=random_page_cost=1.5",
        "--certload-server-env=POOL=10",
        "--certload-server-env=DEBUG=true",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"ladder\.toml holds something else than rungs; write \[\[rung\]\]"),
        ("rung = 1", "something else than rungs"),
        ("rung = []", "something else than rungs"),
        ("[[rung]]\nname = 'a'\n[[rungs]]", "something else than rungs"),
        ("[[rung]", "is no TOML: "),
        ("[[rung]]", "rung 1 has no name"),
        ("[[rung]]\nname = ' '", "rung 1 has no name"),
        ("[[rung]]\nname = 'a'\npostgre = {}", "rung 1: a rung has name, postgres, server alone"),
        ("[[rung]]\nname = 'a'\npostgres = 1", "rung 1, postgres is no table"),
        ("[[rung]]\nname = 'a'\npostgres = {a = []}", "a is neither a text nor a number"),
        ("[[rung]]\nname = 'a'\npostgres = {port = 1}", "rung 1: port cannot be set: "),
        ("[[rung]]\nname = 'a'\nserver = {'a b' = 1}", "'a b' is no name of a variable"),
        (
            "[[rung]]\nname = 'a b'\n[[rung]]\nname = 'A: b'",
            "more than one rung has the name 'a b', or one like it",
        ),
    ],
)
def test_a_file_of_something_else(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        read_rungs(rungs_of(tmp_path, text))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.toml cannot be read: No such file"):
        read_rungs(tmp_path / "none.toml")


def test_the_ladder_of_the_scale_scenarios() -> None:
    names = [rung.name for rung in read_rungs(ROOT / "tests" / "scale" / "ladder.toml")]
    assert names[0] == "as the stack has it"
    assert len(names) > 4


def test_the_ladder_of_the_page(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "ladders.md").read_text("utf-8")
    text = page.split("```toml\n")[1].split("```")[0]
    assert len(read_rungs(rungs_of(tmp_path, text))) == 3
