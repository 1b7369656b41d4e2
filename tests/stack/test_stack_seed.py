"""Seeds are applied whole and right, or not at all; what is wrong is named with file and line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_certload.certctl.product import PRODUCT
from pytest_certload.database import Database, run_sync
from pytest_certload.errors import SeedError
from pytest_certload.stack import SeedFile
from pytest_certload.stack.seed import apply_seed, read_seed, verify_seed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "seed"
    path.mkdir()
    return path


def apply(dsn: str, folder: Path) -> tuple[SeedFile, ...]:
    async def run() -> tuple[SeedFile, ...]:
        async with Database.connect(dsn) as database:
            return await apply_seed(database, read_seed(folder))

    return run_sync(run())


def ask(dsn: str, sql: str) -> list[tuple[object, ...]]:
    async def run() -> list[tuple[object, ...]]:
        async with Database.connect(dsn) as database:
            return [tuple(row.values()) for row in await database.fetch(sql)]

    return run_sync(run())


class TestAFolder:
    def test_is_applied_in_lexical_order_and_reports_what_changed(
        self, empty_database: str, folder: Path
    ) -> None:
        (folder / "10_b.sql").write_text("INSERT INTO t VALUES (1), (2);\nUPDATE t SET n = n + 1;")
        (folder / "02_a.sql").write_text("CREATE TABLE t (n int); -- expect: 0 = SELECT 0\n")
        (folder / "README.md").write_text("not SQL")
        applied = apply(empty_database, folder)
        assert [(seed.name, seed.rows_changed) for seed in applied] == [
            ("02_a.sql", 0),
            ("10_b.sql", 4),
        ]
        assert ask(empty_database, "SELECT n FROM t ORDER BY n") == [(2,), (3,)]

    def test_that_is_missing(self, tmp_path: Path) -> None:
        with pytest.raises(SeedError, match=r"nowhere does not exist; correct --certload-seed"):
            read_seed(tmp_path / "nowhere")

    def test_that_is_empty(self, folder: Path) -> None:
        with pytest.raises(SeedError, match=r"no \*\.sql file.*--certload-seed"):
            read_seed(folder)


class TestAFile:
    def test_that_fails_leaves_nothing_and_is_named(
        self, empty_database: str, folder: Path
    ) -> None:
        (folder / "1.sql").write_text("CREATE TABLE first (n int);")
        (folder / "2.sql").write_text(
            "CREATE TABLE second (n int);\n\nINSERT INTO second\nVALUES (1), (oops);\n"
        )
        with pytest.raises(
            SeedError, match=r'2\.sql:4: column "oops" does not exist \(SQLSTATE 42703\)'
        ):
            apply(empty_database, folder)
        tables = ask(
            empty_database, "SELECT relname::text FROM pg_class WHERE relname IN ('first','second')"
        )
        assert tables == [("first",)], "each file is a transaction of its own"

    def test_with_a_syntax_error(self, empty_database: str, folder: Path) -> None:
        (folder / "1.sql").write_text("SELECT 1;\nSELEKT 2;")
        with pytest.raises(
            SeedError, match=r"1\.sql:2: syntax error .*SELEKT.* \(SQLSTATE 42601\)"
        ):
            apply(empty_database, folder)

    def test_that_breaks_a_rule_of_the_table(self, empty_database: str, folder: Path) -> None:
        (folder / "1.sql").write_text(
            "CREATE TABLE t (n int PRIMARY KEY);\n\nINSERT INTO t VALUES (1), (1);"
        )
        with pytest.raises(SeedError, match=r"1\.sql:3: .*already exists.*\(SQLSTATE 23505\)"):
            apply(empty_database, folder)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"SELECT 1;\n-- caf\xe9", r"1\.sql:2: not UTF-8 .*save the file as UTF-8"),
            (b"SELECT 1;\n\n\0", r"1\.sql:3: holds a NUL character"),
            (b"SELECT '", r"1\.sql:1: a string never ends"),
            (b"\n\\i other.sql", r"1\.sql:2: \\i is a command of psql"),
            (b"BEGIN; SELECT 1; COMMIT;", r"1\.sql:1: BEGIN: a seed file is one transaction"),
            (b"SELECT 1;\nCOMMIT;", r"1\.sql:2: COMMIT: a seed file is one transaction"),
            (b"COPY t FROM STDIN;", r"1\.sql:1: COPY FROM STDIN has its data in psql's format"),
            (b"-- expect 5", r"1\.sql:1: not an expectation; write -- expect: 10000 = SELECT"),
            (b"-- expect: many = SELECT 1", r"1\.sql:1: not an expectation"),
            (b"-- expect: 1__0 = SELECT 1", r"1\.sql:1: not an expectation"),
            (b"-- expect: 10_ = SELECT 1", r"1\.sql:1: not an expectation"),
            (
                b"SELECT 1;\n-- refresh UPDATE",
                r"1\.sql:2: nothing to refresh; write -- refresh: UPD",
            ),
            (b"-- refresh: ", r"1\.sql:1: nothing to refresh"),
        ],
    )
    def test_that_cannot_be_used(self, folder: Path, content: bytes, message: str) -> None:
        (folder / "1.sql").write_bytes(content)
        with pytest.raises(SeedError, match=message):
            read_seed(folder)

    def test_that_cannot_be_read(self, folder: Path) -> None:
        (folder / "1.sql").mkdir()
        with pytest.raises(SeedError, match=r"1\.sql cannot be read \(Is a directory\)"):
            read_seed(folder)

    def test_a_savepoint_is_no_transaction(self, empty_database: str, folder: Path) -> None:
        (folder / "1.sql").write_text(
            "CREATE TABLE t (n int); SAVEPOINT s; INSERT INTO t VALUES (1); ROLLBACK TO s;"
        )
        apply(empty_database, folder)
        assert ask(empty_database, "SELECT count(*) FROM t") == [(0,)]


class TestExpectations:
    def test_hold_the_file_back_when_they_do_not(self, empty_database: str, folder: Path) -> None:
        (folder / "1.sql").write_text(
            "CREATE TABLE t AS SELECT generate_series(1, 3);\n"
            "-- expect: 4 = SELECT count(*) FROM t\n"
        )
        with pytest.raises(
            SeedError, match=r"1\.sql:2: 4 expected, 3 found: SELECT count\(\*\) FROM t"
        ):
            apply(empty_database, folder)
        assert ask(empty_database, "SELECT count(*) FROM pg_class WHERE relname = 't'") == [(0,)]

    def test_whose_query_is_wrong(self, empty_database: str, folder: Path) -> None:
        (folder / "1.sql").write_text("SELECT 1;\n-- expect: 4 = SELECT nonsense\n")
        with pytest.raises(SeedError, match=r"1\.sql:2: .*nonsense.*\(SQLSTATE 42703\)"):
            apply(empty_database, folder)

    def test_can_be_verified_without_a_change(self, empty_database: str, folder: Path) -> None:
        (folder / "1.sql").write_text(
            "CREATE TABLE t (n int);\n-- expect: 0 = SELECT count(*) FROM t\n"
        )
        apply(empty_database, folder)

        async def verify() -> tuple[SeedFile, ...]:
            async with Database.connect(empty_database) as database:
                return await verify_seed(database, read_seed(folder))

        assert [seed.rows_changed for seed in run_sync(verify())] == [0]
        (folder / "1.sql").write_text("-- expect: 0 = DELETE FROM t RETURNING 0\n")
        with pytest.raises(SeedError, match=r"read-only transaction \(SQLSTATE 25006\)"):
            run_sync(verify())


@pytest.fixture(scope="module")
def seeded(new_database: Callable[[str | None], str], migrated: str) -> str:
    dsn = new_database(migrated)
    first = apply(dsn, PRODUCT.seed_dir)
    assert [seed.rows_changed for seed in first] == [204, 10_000, 5_000, 15_000, 202, 1]
    return dsn


class TestTheShippedSeeds:
    def test_change_nothing_the_second_time(self, seeded: str) -> None:
        state = "SELECT md5(string_agg(c::text, '' ORDER BY id)) FROM managed_certificates c"
        before = ask(seeded, state)
        assert [seed.rows_changed for seed in apply(seeded, PRODUCT.seed_dir)] == [0] * 6
        assert ask(seeded, state) == before

    def test_certificates(self, seeded: str) -> None:
        (figures,) = ask(
            seeded,
            "SELECT count(*) AS a, count(DISTINCT created_at) AS b, count(DISTINCT owner_id) AS c,"
            " count(*) FILTER (WHERE status = 'Active') AS d,"
            " count(*) FILTER (WHERE name LIKE 'loadtest-bulk-%') AS e,"
            " count(*) FILTER (WHERE expires_at > now() + interval '32 days') AS f"
            " FROM managed_certificates WHERE id LIKE 'cert-loadtest-bulk-%'",
        )
        assert figures == (10_000, 10_000, 200, 10_000, 10_000, 10_000)
        assert ask(
            seeded,
            "SELECT max(n) FROM (SELECT count(*) AS n FROM managed_certificates"
            " WHERE owner_id LIKE 'o-loadtest-%' GROUP BY owner_id) AS owners",
        ) == [(50,)]

    def test_agents(self, seeded: str) -> None:
        assert ask(
            seeded, "SELECT os::text, count(*) FROM agents GROUP BY os ORDER BY 2 DESC, 1"
        ) == [("linux", 4_000), ("darwin", 500), ("windows", 500)]
        assert ask(
            seeded, "SELECT architecture::text, count(*) FROM agents GROUP BY 1 ORDER BY 2 DESC"
        ) == [("amd64", 4_000), ("arm64", 1_000)]
        assert ask(
            seeded,
            "SELECT count(*) FROM agents WHERE status = 'Online' AND name LIKE 'loadtest-agent-%'"
            " AND last_heartbeat_at > now() - interval '2 minutes' AND retired_at IS NULL",
        ) == [(5_000,)]
