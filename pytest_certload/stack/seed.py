"""Is the database filled as the scenarios need it, all of it, and provably?

A seed folder holds ``*.sql`` files, applied in lexical order, each in one transaction.  Lines of
the form ``-- expect: 10000 = SELECT count(*) FROM agents`` declare row counts; they are verified
after the file and before its transaction is committed, so a file is applied and right, or absent.
Lines of the form ``-- refresh: UPDATE agents SET …`` are statements that bring up to date what
counts from now; they are run on every clone of the seeded database.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pytest_certload.database import Database, StatementError
from pytest_certload.errors import SeedError

from .model import Expectation, SeedFile
from .sql import Script, SqlSyntaxError, Statement, split

__all__ = ["Refresh", "Seed", "apply_seed", "read_seed", "refresh_seed", "verify_seed"]

_EXPECT = re.compile(r"--\s*expect\b")
_EXPECT_FULL = re.compile(r"--\s*expect:\s*(?P<count>[0-9]+(?:_[0-9]+)*)\s*=\s*(?P<query>\S.*)")
_REFRESH = re.compile(r"--\s*refresh\b")
_REFRESH_FULL = re.compile(r"--\s*refresh:\s*(?P<statement>\S.*)")
_ROWS = re.compile(r"(?:INSERT 0|UPDATE|DELETE|MERGE|COPY) ([0-9]+)")
_CHANGED = """
SELECT format('%I.%I', schemaname, relname) AS name FROM pg_stat_xact_user_tables
WHERE n_tup_ins + n_tup_upd + n_tup_del > 0 ORDER BY name
"""
# They would end the file's one transaction.
_TRANSACTION_WORDS = ("BEGIN", "START", "COMMIT", "END", "ABORT", "ROLLBACK")


@dataclass(frozen=True, kw_only=True)
class Refresh:
    """A statement that brings up to date what counts from now, and its line in the file, from 1."""

    statement: str
    line: int


@dataclass(frozen=True, kw_only=True)
class Seed:
    """A seed file, read and cut, not yet applied."""

    path: Path
    text: str
    script: Script
    expectations: tuple[Expectation, ...]
    refreshes: tuple[Refresh, ...]

    def error(self, offset: int, message: str) -> SeedError:
        """A ``SeedError`` that names the file and the line of ``offset``."""
        return SeedError(f"{self.path}:{_line(self.text, offset)}: {message}")


def read_seed(directory: Path) -> tuple[Seed, ...]:
    """Read and check all files of a seed folder, in lexical order.

    Raises:
        SeedError: The folder is missing or has no ``*.sql`` file, or a file cannot be read, is not
            UTF-8, or cannot be cut into statements.
    """
    if not directory.is_dir():
        raise SeedError(
            f"The seed folder {directory} does not exist; correct --certload-seed, or its product's seed_dir."
        )
    paths = sorted(path for path in directory.iterdir() if path.name.endswith(".sql"))
    if not paths:
        raise SeedError(
            f"The seed folder {directory} has no *.sql file, and a load test on an empty database "
            "proves nothing; correct --certload-seed, or its product's seed_dir."
        )
    return tuple(_read(path) for path in paths)


async def apply_seed(database: Database, seeds: tuple[Seed, ...]) -> tuple[SeedFile, ...]:
    """Apply seed files, each in one transaction, and verify the row counts that they declare.

    Raises:
        SeedError: A statement was refused (file, line, SQLSTATE and message), or a row count is
            another one.  The file's transaction is undone.
    """
    return tuple([await _apply(database, seed) for seed in seeds])


async def verify_seed(database: Database, seeds: tuple[Seed, ...]) -> tuple[SeedFile, ...]:
    """Verify the declared row counts without changing anything.

    Raises:
        SeedError: A row count is another one, or cannot be asked.
    """
    for seed in seeds:
        async with database.transaction():
            await database.execute("SET TRANSACTION READ ONLY")
            await _verify(database, seed)
    return tuple(
        SeedFile(name=seed.path.name, rows_changed=0, expectations=seed.expectations)
        for seed in seeds
    )


async def refresh_seed(database: Database, seeds: tuple[Seed, ...]) -> list[str]:
    """Run the refreshes of all files, in one transaction.

    Returns:
        The tables that they changed, as identifiers.

    Raises:
        SeedError: One was refused (file, line, SQLSTATE and message).
    """
    async with database.transaction():
        for seed in seeds:
            for refresh in seed.refreshes:
                try:
                    await database.execute(refresh.statement)
                except StatementError as error:
                    raise SeedError(
                        f"{seed.path}:{refresh.line}: {error.reason} (SQLSTATE {error.sqlstate}) "
                        f"in: {refresh.statement}"
                    ) from error
        return [str(row["name"]) for row in await database.fetch(_CHANGED)]


def _read(path: Path) -> Seed:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SeedError(f"The seed file {path} cannot be read ({error.strerror}).") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SeedError(
            f"{path}:{line}: not UTF-8 ({error.reason}); save the file as UTF-8."
        ) from error
    if "\0" in text:
        line = _line(text, text.index("\0"))
        raise SeedError(f"{path}:{line}: holds a NUL character, which no SQL text can.")
    try:
        script = split(text)
    except SqlSyntaxError as error:
        raise SeedError(f"{path}:{_line(text, error.offset)}: {error}.") from error
    seed = Seed(
        path=path,
        text=text,
        script=script,
        expectations=_expectations(path, text, script),
        refreshes=_refreshes(path, text, script),
    )
    for statement in script.statements:
        _check_statement(seed, statement)
    return seed


def _expectations(path: Path, text: str, script: Script) -> tuple[Expectation, ...]:
    found: list[Expectation] = []
    for comment in script.comments:
        if not _EXPECT.match(comment.text):
            continue
        line = _line(text, comment.offset)
        match = _EXPECT_FULL.fullmatch(comment.text.rstrip())
        if match is None:
            raise SeedError(
                f"{path}:{line}: not an expectation; write -- expect: 10000 = SELECT count(*) FROM …"
            )
        found.append(
            Expectation(count=int(match["count"]), query=match["query"].rstrip("; "), line=line)
        )
    return tuple(found)


def _refreshes(path: Path, text: str, script: Script) -> tuple[Refresh, ...]:
    found: list[Refresh] = []
    for comment in script.comments:
        if not _REFRESH.match(comment.text):
            continue
        line = _line(text, comment.offset)
        match = _REFRESH_FULL.fullmatch(comment.text.rstrip())
        if match is None:
            raise SeedError(
                f"{path}:{line}: nothing to refresh; write -- refresh: UPDATE … SET … = now()"
            )
        found.append(Refresh(statement=match["statement"], line=line))
    return tuple(found)


def _check_statement(seed: Seed, statement: Statement) -> None:
    words = statement.words
    ends_transaction = words[:1] and words[0] in _TRANSACTION_WORDS and "TO" not in words[:3]
    if ends_transaction or words[:2] == ("PREPARE", "TRANSACTION"):
        raise seed.error(
            statement.start,
            f"{words[0]}: a seed file is one transaction already; leave it out.",
        )
    if words[:1] == ("COPY",) and re.search(r"\bFROM\s+STDIN\b", statement.text, re.IGNORECASE):
        raise seed.error(
            statement.start,
            "COPY FROM STDIN has its data in psql's format; use INSERT.",
        )


async def _apply(database: Database, seed: Seed) -> SeedFile:
    changed = 0
    async with database.transaction():
        for statement in seed.script.statements:
            with _locating(seed, statement):
                tag = await database.execute(statement.text)
            rows = _ROWS.fullmatch(tag)
            changed += int(rows[1]) if rows else 0
        await _verify(database, seed)
    return SeedFile(name=seed.path.name, rows_changed=changed, expectations=seed.expectations)


@contextmanager
def _locating(seed: Seed, statement: Statement) -> Iterator[None]:
    try:
        yield
    except StatementError as error:
        offset = statement.start
        if error.position is not None:
            offset = statement.offset + error.position - 1
        raise seed.error(offset, f"{error.reason} (SQLSTATE {error.sqlstate})") from error


async def _verify(database: Database, seed: Seed) -> None:
    for expectation in seed.expectations:
        place = f"{seed.path}:{expectation.line}"
        try:
            actual = await database.fetchval(expectation.query)
        except StatementError as error:
            raise SeedError(
                f"{place}: {error.reason} (SQLSTATE {error.sqlstate}) in: {expectation.query}"
            ) from error
        if actual != expectation.count:
            raise SeedError(
                f"{place}: {expectation.count} expected, {actual} found: {expectation.query}; correct "
                "the file or its expectation, or empty the database of other rows"
            )


def _line(text: str, offset: int) -> int:
    return text.count("\n", 0, offset) + 1
