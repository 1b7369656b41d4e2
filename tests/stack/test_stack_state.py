"""A seeded database comes back as it was, with a fresh server, or one clear error says why not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from pytest_certload.database import Database, other_database, run_sync
from pytest_certload.errors import SeedError, StackError
from pytest_certload.stack.model import AS_SEEDED
from pytest_certload.stack.seed import read_seed
from pytest_certload.stack.state import TEMPLATE, SeededState

SEED = """
CREATE TABLE agents (id int PRIMARY KEY, seen timestamptz NOT NULL DEFAULT now() - interval '1 hour');
INSERT INTO agents SELECT generate_series(1, 100);
-- refresh: UPDATE agents SET seen = now() WHERE id <= 50
"""


def _altered(what: str, of: str = "DATABASE") -> str:
    """An SQL statement that alters the database that one is connected to; quotes of ``what`` twice."""
    return f"DO $$ BEGIN EXECUTE format('ALTER {of} %I {what}', current_database()); END $$"


SETTINGS = (
    _altered("SET work_mem = ''7MB''"),
    _altered("SET search_path = public, pg_temp"),
    _altered("SET jit = off", of="ROLE CURRENT_USER IN DATABASE"),
)


class Recorder:
    """A server that does nothing but note what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.given: list[Mapping[str, str]] = []
        self.runs = False

    def alive(self) -> bool:
        return self.runs

    def stop(self) -> None:
        self.asked.append("stop")
        self.runs = False

    def start(self, environment: Mapping[str, str]) -> None:
        self.asked.append("start")
        self.given.append(environment)
        self.runs = True


async def ask(dsn: str, sql: str) -> object:
    async with Database.connect(dsn) as database:
        if sql.startswith(("SELECT", "SHOW")):
            return await database.fetchval(sql)
        return await database.execute(sql)


def run(dsn: str, *statements: str) -> object:
    async def one_after_the_other() -> object:
        return [await ask(dsn, sql) for sql in statements][-1]

    return run_sync(one_after_the_other())


@contextmanager
def somebody(dsn: str) -> Iterator[None]:
    """A session of somebody else."""
    loop = asyncio.new_event_loop()
    options = {"application_name": "somebody"}
    session = loop.run_until_complete(asyncpg.connect(dsn, server_settings=options))
    try:
        yield
    finally:
        session.terminate()
        # The transport is closed by the loop's next turn.
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


@pytest.fixture
def server() -> Recorder:
    return Recorder()


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def dsn(empty_database: str, tmp_path: Path) -> str:
    (tmp_path / "1.sql").write_text(SEED)
    run(empty_database, SEED, *SETTINGS)
    return empty_database


@pytest.fixture
def state(
    postgres: str, dsn: str, server: Recorder, said: list[str], tmp_path: Path
) -> Iterator[SeededState]:
    made = SeededState(dsn, read_seed(tmp_path), server=server, announce=said.append)
    made.start()
    yield made
    run(
        postgres,
        f"ALTER DATABASE {TEMPLATE} IS_TEMPLATE false",
        f"DROP DATABASE {TEMPLATE} WITH (FORCE)",
        "DROP DATABASE IF EXISTS certload_next WITH (FORCE)",
    )


def test_what_was_written_is_gone_and_the_server_is_a_new_one(
    state: SeededState, dsn: str, server: Recorder, said: list[str]
) -> None:
    run(dsn, "INSERT INTO agents VALUES (101)", "CREATE TABLE mine ()")
    origin = state.restore()
    assert origin.startswith("template, cloned in ")
    assert run(dsn, "SELECT count(*) FROM agents") == 100
    assert run(dsn, "SELECT to_regclass('mine') IS NULL")
    assert server.asked == ["start", "stop", "start"]
    (line,) = said
    assert line.startswith("state: cloned in ")


def test_where_nothing_was_written_nothing_is_done(
    state: SeededState, dsn: str, server: Recorder
) -> None:
    run(dsn, "SELECT count(*) FROM agents")
    assert state.restore() == AS_SEEDED
    run(dsn, "DELETE FROM agents")
    cloned = state.restore()
    assert state.restore() == cloned
    assert server.asked == ["start", "stop", "start"]


def test_the_server_runs_with_what_it_is_given_until_the_next_time(
    state: SeededState, server: Recorder, said: list[str]
) -> None:
    state.restore({"LEVEL": "debug"})
    state.restore({"LEVEL": "debug"})
    state.restore()
    assert server.given == [{}, {"LEVEL": "debug"}, {}]
    assert "server started anew with LEVEL=debug, " in said[0]
    assert "server started anew, " in said[1]


def test_a_server_that_has_ended_is_started(state: SeededState, server: Recorder) -> None:
    server.runs = False
    state.restore()
    assert server.alive()


def test_what_counts_from_now_is_brought_up_to_date_and_nothing_is_left_to_autovacuum(
    state: SeededState, dsn: str
) -> None:
    run(dsn, "DELETE FROM agents")
    state.restore()
    assert run(dsn, "SELECT count(*) FROM agents WHERE seen > now() - interval '1 minute'") == 50
    assert run(dsn, "SELECT relpages = relallvisible FROM pg_class WHERE relname = 'agents'")
    assert run(dsn, "SELECT reltuples FROM pg_class WHERE relname = 'agents'") == 100


def test_what_belongs_to_the_database_itself_is_kept(state: SeededState, dsn: str) -> None:
    run(dsn, _altered("SET work_mem = ''9MB''"), _altered("SET enable_seqscan = off"))
    state.restore()
    assert run(dsn, "SHOW work_mem") == "7MB"
    assert run(dsn, "SHOW enable_seqscan") == "on", "a test's setting is not the next one's"
    assert run(dsn, "SHOW search_path") == "public, pg_temp"
    assert run(dsn, "SHOW jit") == "off"
    mark = (
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database "
        "WHERE datname = current_database()"
    )
    assert run(dsn, mark) == "certload"


def test_the_server_finds_the_clone_when_it_is_started(
    state: SeededState, dsn: str, server: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[object] = []

    def start(_: Mapping[str, str]) -> None:
        found.append(run(dsn, "SELECT count(*) FROM agents"))
        server.runs = True

    monkeypatch.setattr(server, "start", start)
    run(dsn, "DELETE FROM agents")
    state.restore()
    assert found == [100]


def test_a_session_on_the_database_is_ended(state: SeededState, dsn: str) -> None:
    with somebody(dsn):
        run(dsn, "DELETE FROM agents")
        state.restore()
    assert run(dsn, "SELECT count(*) FROM agents") == 100


def test_a_session_on_the_template_is_named_and_what_is_there_stays(
    state: SeededState, postgres: str, dsn: str, server: Recorder
) -> None:
    run(dsn, "DELETE FROM agents WHERE id > 10")
    run(postgres, f"ALTER DATABASE {TEMPLATE} ALLOW_CONNECTIONS true")
    with somebody(other_database(dsn, TEMPLATE)):
        with pytest.raises(StackError, match=r"accessed by other users.*somebody \(certload, pro"):
            state.restore()
        assert run(dsn, "SELECT count(*) FROM agents") == 10
        assert server.asked == ["start"]
    state.restore()
    assert run(dsn, "SELECT count(*) FROM agents") == 100


def test_a_template_that_is_gone_is_one_error(state: SeededState, postgres: str, dsn: str) -> None:
    run(dsn, "DELETE FROM agents")
    run(postgres, f"ALTER DATABASE {TEMPLATE} RENAME TO elsewhere")
    try:
        with pytest.raises(StackError, match=r"cannot be put back .*certload_template.*3D000"):
            state.restore()
    finally:
        run(postgres, f"ALTER DATABASE elsewhere RENAME TO {TEMPLATE}")


def test_a_refresh_that_is_refused_is_named(
    postgres: str, dsn: str, server: Recorder, tmp_path: Path
) -> None:
    (tmp_path / "1.sql").write_text("\n-- refresh: UPDATE nowhere SET n = 1\n")
    state = SeededState(dsn, read_seed(tmp_path), server=server, announce=lambda _: None)
    try:
        with pytest.raises(SeedError, match=r'1\.sql:2: relation "nowhere" does not exist'):
            state.restore()
    finally:
        run(postgres, f"ALTER DATABASE {TEMPLATE} IS_TEMPLATE false", f"DROP DATABASE {TEMPLATE}")


def test_a_server_that_does_not_start_is_started_the_next_time(
    state: SeededState, dsn: str, server: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Mapping[str, str]) -> None:
        raise StackError("not ready")

    run(dsn, "DELETE FROM agents")
    with monkeypatch.context() as patch:
        patch.setattr(server, "start", fail)
        with pytest.raises(StackError, match="not ready"):
            state.restore()
    state.restore()
    assert server.alive()
    assert run(dsn, "SELECT count(*) FROM agents") == 100
