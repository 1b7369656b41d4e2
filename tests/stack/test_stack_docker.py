"""The Docker stack on a real daemon: it runs, says what it is, refuses clearly, and leaves nothing."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from docker import APIClient

from pytest_certload.certctl.connectors import open_connectors
from pytest_certload.certctl.product import AUTHORISED_PATH, PRODUCT
from pytest_certload.database import Database, run_sync
from pytest_certload.errors import StackError
from pytest_certload.stack import Stack, StackRequest, choose_provider, open_stack
from pytest_certload.stack.containers import provider, running
from pytest_certload.stack.containers.daemon import connect
from pytest_certload.stack.containers.images import _build, build_reference_image
from pytest_certload.stack.daemons import Handshake
from pytest_certload.stack.processes import open_workspace
from pytest_certload.stack.server import get
from tests.stack.handshakes import ask, context_for
from tests.stack.sessions import exit_code_of

REQUEST = StackRequest(
    provider="docker", server_image="reference", postgres_image="certload-postgres:15"
)
BASE = "debian:bookworm-slim"
STORM = """
import pathlib
import pytest


@pytest.mark.scale
async def test_storm(load, certload_stack):
    async def ask(iteration):
        async with iteration.client.get("/health") as response:
            iteration.expect(response, 200)
        if iteration.index == 20:
            pathlib.Path("loaded").touch()

    await load.constant_arrival_rate(ask, rate=50, duration="2m")
"""


def docker(*arguments: str, stdin: str | None = None) -> str:
    return subprocess.run(
        ["docker", *arguments], input=stdin, capture_output=True, text=True, check=True
    ).stdout


def docker_lacks() -> str | None:
    """What these tests need of Docker and is not there."""
    for what, command in (
        ("Docker daemon does not answer", ["docker", "version"]),
        (
            f"no image {REQUEST.postgres_image}: .ci/docker-prepare makes it",
            ["docker", "image", "inspect", REQUEST.postgres_image],
        ),
    ):
        try:
            subprocess.run(command, capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return what
    return None


def traces() -> list[str]:
    return [
        *docker("ps", "--all", "--no-trunc", "--format", "{{.ID}} {{.Image}}").split("\n"),
        *docker("network", "ls", "--no-trunc", "--format", "{{.ID}} {{.Name}}").split("\n"),
        *docker("volume", "ls", "--format", "{{.Name}}").split("\n"),
    ]


def eventually(question: Callable[[], object], *, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < deadline, f"not so after {seconds:g} s"
        time.sleep(0.1)


@pytest.fixture(scope="module", autouse=True)
def daemon() -> None:
    missing = docker_lacks()
    if missing:
        pytest.skip(missing)


@pytest.fixture(autouse=True)
def leaves_nothing(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    monkeypatch.setenv("TESTCONTAINERS_HOST_OVERRIDE", "127.0.0.1")
    before = traces()
    yield
    # What is shared is looked after when all are through with it.
    if "opened" not in request.fixturenames:
        eventually(lambda: traces() == before)


def open_and_close(request: StackRequest) -> None:
    with open_stack(request, PRODUCT, announce=lambda _: None):
        pass


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A stack that runs, and what was said while it came up."""

    stack: Stack
    said: list[str]


@pytest.fixture(scope="class")
def opened(daemon: None) -> Iterator[Opened]:
    """One for all, which leave it as usable as they found it."""
    before = traces()
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TESTCONTAINERS_HOST_OVERRIDE", "127.0.0.1")
        with open_stack(REQUEST, PRODUCT, announce=said.append) as stack:
            yield Opened(stack=stack, said=said)
    eventually(lambda: traces() == before)


class TestThatRuns:
    def test_says_what_it_is_and_listens_on_loopback_alone(self, opened: Opened) -> None:
        stack, said = opened.stack, opened.said
        assert (stack.provider, stack.is_reference) == ("docker", True)
        assert "certload-reference" in str(stack.image)
        assert "sha256:" in str(stack.image)
        assert str(stack.postgres).startswith("15.")
        assert stack.endpoint.base_url.startswith("https://127.0.0.1:")
        assert [seed.rows_changed for seed in stack.seeds] == [204, 10_000, 5_000, 15_000, 202, 1]
        facts = json.dumps(stack.describe()) + repr(stack) + "".join(said)
        assert str(stack.endpoint.token) not in facts
        assert str(stack.dsn) not in facts
        containers = docker("ps", "--quiet", "--filter", "label=certload.run").split()
        assert len(containers) == 2, "the one that migrated is gone"
        networks = set()
        for container in json.loads(docker("inspect", *containers)):
            networks |= set(container["NetworkSettings"]["Networks"])
            bindings = [b for b in container["NetworkSettings"]["Ports"].values() if b]
            assert bindings
            assert {entry["HostIp"] for binding in bindings for entry in binding} == {"127.0.0.1"}
        assert len(networks) == 1
        assert networks != {"bridge"}

    def test_is_put_back_behind_the_same_port(self, opened: Opened) -> None:
        async def ask(sql: str) -> object:
            async with Database.connect(str(stack.dsn)) as database:
                return await database.fetchval(sql)

        stack = opened.stack
        assert stack.restore is not None
        first = docker("ps", "--quiet", "--filter", "label=certload.run").split()
        run_sync(ask("TRUNCATE agents CASCADE"))
        assert stack.restore({}).startswith("template, cloned in ")
        second = docker("ps", "--quiet", "--filter", "label=certload.run").split()
        assert len(second) == len(set(first) | set(second)) - 1 == 2, "Postgres stays"
        assert get(stack.endpoint, AUTHORISED_PATH).status == 200
        assert run_sync(ask("SELECT count(*) FROM agents")) == 5000

    def test_is_put_back_when_its_server_was_removed_from_outside(self, opened: Opened) -> None:
        stack = opened.stack
        assert stack.restore is not None
        server = {part.name: part.container for part in stack.parts}["server"]
        docker("rm", "--force", "--volumes", str(server))
        stack.restore({})
        assert get(stack.endpoint, AUTHORISED_PATH).status == 200

    def test_builds_its_image_once(self, opened: Opened) -> None:
        again: list[str] = []
        with connect(30) as client:
            name, _ = build_reference_image(client, PRODUCT, announce=again.append)
        assert name in str(opened.stack.image)
        assert again == []

    def test_auto_takes_docker_when_the_images_are_there(self) -> None:
        assert choose_provider(replace(REQUEST, provider="auto"), PRODUCT) == (
            "docker",
            "a Docker daemon answers and its images are at hand",
        )

    def test_auto_does_without_when_an_image_is_not_to_be_had(self) -> None:
        request = replace(REQUEST, provider="auto", server_image="certload-no-such-image:1")
        provider, reason = choose_provider(request, PRODUCT)
        assert provider == "embedded"
        assert "certload-no-such-image:1" in reason


class TestDaemons:
    def test_do_in_containers_what_they_do_without(self) -> None:
        request = StackRequest(provider="docker")
        with open_connectors(request, announce=lambda _: None, resumption=True) as connectors:
            for target in connectors:
                context = context_for(target)
                first = ask(target, target.path(1), context)
                ask(target, target.path(2), context, first.session)
                eventually(lambda target=target: len(target.daemon.handshakes()) == 2)  # type: ignore[misc]
                assert target.daemon.handshakes() == [
                    Handshake(target=target.path(1), full=True),
                    Handshake(target=target.path(2), full=False),
                ]


class TestBuilds:
    @pytest.fixture
    def build(self, tmp_path: Path) -> Iterator[Callable[[str], None]]:
        tag = f"certload-test-build:{os.getpid()}"

        def build(instruction: str) -> None:
            (tmp_path / "Dockerfile").write_text(f"FROM {BASE}\n{instruction}\n")
            with connect(60) as client:
                _build(client, tmp_path, tag, {})

        yield build
        docker("image", "rm", "--force", tag)

    def test_that_fails_says_why(self, build: Callable[[str], None]) -> None:
        with pytest.raises(StackError, match=r"cannot be built\.(?s:.*)not to be had"):
            build("RUN echo not to be had && exit 3")

    def test_that_left_a_container_is_cleared_up(
        self, build: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As after a daemon that gave up on a container that was busy."""
        api_build: Callable[..., object] = APIClient.build

        def build_and_leave(self: APIClient, **options: object) -> object:
            return api_build(self, **options | {"rm": False, "forcerm": False})

        monkeypatch.setattr(APIClient, "build", build_and_leave)
        build(f"RUN echo {os.getpid()}")


class TestThatCannotRun:
    def test_daemon_absent(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
        with pytest.raises(StackError, match=r"No Docker daemon answers .*; start one or set DOC"):
            open_and_close(REQUEST)
        monkeypatch.delenv("DOCKER_HOST")

    def test_daemon_not_permitted(self) -> None:
        from pytest_certload.stack.containers.daemon import _unavailable

        refused = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        wrapped = RuntimeError("Error while fetching server API version", refused)
        assert str(_unavailable(wrapped)) == (
            "The Docker daemon does not let this user in (permission denied on its socket); "
            "add the user to the group docker, or choose --certload-stack embedded."
        )

    def test_image_unknown(self) -> None:
        request = replace(REQUEST, server_image="certload-no-such-image:1")
        with pytest.raises(
            StackError, match=r"certload-no-such-image:1.*(?s:.*)--certload-server-image"
        ):
            open_and_close(request)

    def test_port_taken(self, tmp_path: Path) -> None:
        (tmp_path / "1.sql").write_text("SELECT 1;\n")
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(StackError, match=rf"Port {port} .* is taken; .*server-port"):
                open_and_close(replace(REQUEST, server_port=port, seed_dir=tmp_path))

    @pytest.fixture
    def image(self) -> Iterator[Callable[[str], str]]:
        made: list[str] = []

        def make(program: str) -> str:
            """An image whose program is a line of shell; ``$1`` is --migrate-only at first."""
            name = f"certload-test-{len(made)}:{os.getpid()}"
            entry = json.dumps(["/bin/sh", "-c", program, "server"])
            docker("build", "--tag", name, "-", stdin=f"FROM {BASE}\nENTRYPOINT {entry}\n")
            made.append(name)
            return name

        yield make
        for name in made:
            docker("image", "rm", "--force", name)

    def test_server_that_cannot_migrate(self, image: Callable[[str], str]) -> None:
        name = image("echo no such table >&2; exit 3")
        with pytest.raises(
            StackError, match=r"could not migrate the schema \(exit code 3\)(?s:.*)no such table"
        ):
            open_and_close(replace(REQUEST, server_image=name))

    def test_server_that_ends(self, image: Callable[[str], str], tmp_path: Path) -> None:
        (tmp_path / "1.sql").write_text("SELECT 1;\n")
        name = image('[ "$1" ] || { echo out of luck; exit 4; }')
        with pytest.raises(StackError, match=r"ended with exit code 4 (?s:.*)out of luck"):
            open_and_close(replace(REQUEST, server_image=name, seed_dir=tmp_path))

    def test_server_that_is_never_ready(
        self, image: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Which has its time, whatever the server is given.
        wait = provider._wait_for_postgres
        monkeypatch.setattr(provider, "_wait_for_postgres", lambda postgres, _: wait(postgres, 60))
        (tmp_path / "1.sql").write_text("SELECT 1;\n")
        name = image('[ "$1" ] || { echo thinking; exec sleep 60; }')
        request = replace(REQUEST, server_image=name, seed_dir=tmp_path, boot_timeout=12)
        with pytest.raises(
            StackError, match=r"not ready after 12 s(?s:.*)--certload-boot-timeout(?s:.*)thinking"
        ):
            open_and_close(request)

    def test_postgres_that_is_none(self, image: Callable[[str], str]) -> None:
        name = image("echo I am no database; exit 5")
        with pytest.raises(StackError, match=r"exit code 5(?s:.*)I am no database"):
            open_and_close(replace(REQUEST, postgres_image=name))


DEATH = """
import os
import subprocess
from pathlib import Path

import pytest


@pytest.mark.scale
async def test_death(load, certctl, certload_stack, certload_database):
    victim = {part.name: part.container for part in certload_stack.parts}[os.environ["VICTIM"]]
    nonces = load.ledger("nonces")

    answered = []

    async def nonce(iteration):
        async with iteration.client.head(certctl.acme("new-nonce")) as response:
            iteration.expect(response, 200)
            nonces.acknowledged(response.headers["Replay-Nonce"])
        answered.append(iteration.index)
        if len(answered) == 100:
            Path("killing").touch()
            subprocess.Popen(["docker", "kill", "--signal=KILL", victim])

    async def survived(result):
        await result.effects(nonces, certload_database, "SELECT nonce FROM acme_nonces")

    load.after_death(survived)
    await load.constant_arrival_rate(nonce, rate=50, duration="3m")
"""


TOLD = """
import json
import pathlib
import pytest


@pytest.mark.scale
async def test_told(load, certctl, certload_stack):
    secrets = [certload_stack.endpoint.token, *certload_stack.secrets, certload_stack.dsn]
    pathlib.Path("secrets.json").write_text(json.dumps(secrets))

    async def nonce(iteration):
        async with iteration.client.head(certctl.acme("new-nonce")) as response:
            iteration.expect(response, 200 if iteration.index % 2 else 201)
            iteration.check(iteration.index % 5, f"logged in at {certload_stack.dsn}")

    result = await load.constant_arrival_rate(nonce, rate=50, duration="1s")
    print(secrets)
    assert result.error_rate < 0.001, f"with {secrets}"
"""


class TestWhatIsTold:
    def test_in_every_format_and_without_the_stacks_secrets(self, tmp_path: Path) -> None:
        (tmp_path / "test_told.py").write_text(TOLD)
        page = tmp_path / "job.md"
        finished = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-m", "scale", "--certload-stack=docker"),
                f"--certload-server-image={REQUEST.server_image}",
                f"--certload-postgres-image={REQUEST.postgres_image}",
                *(f"--certload-format={name}" for name in ("k6", "openmetrics", "markdown")),
                "--junitxml=out.xml",
            ],
            cwd=tmp_path,
            env=os.environ | {"GITHUB_STEP_SUMMARY": str(page)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        words = finished.stdout + finished.stderr
        assert finished.returncode == pytest.ExitCode.TESTS_FAILED, words
        secrets = json.loads((tmp_path / "secrets.json").read_text("utf-8"))
        assert len(secrets) >= 3
        files = [tmp_path / "out.xml", page, *(tmp_path / "results").rglob("*")]
        texts = {file.name: file.read_text("utf-8") for file in files if file.is_file()}
        assert texts.keys() >= {
            *("out.xml", "job.md", "summary.md", "report.html", "summary-told.json"),
            *("k6-told.json", "metrics.txt"),
        }
        for name, text in {**texts, "the terminal": words}.items():
            assert text, name
            for secret in secrets:
                assert secret not in text, f"{secret} in {name}"


class TestThatDies:
    @pytest.mark.parametrize(
        ("victim", "called"), [("server", "the server"), ("postgres", "Postgres")]
    )
    def test_ends_the_load_and_tells(self, tmp_path: Path, victim: str, called: str) -> None:
        (tmp_path / "test_death.py").write_text(DEATH)
        finished = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-m", "scale", "--certload-stack=docker"),
                f"--certload-server-image={REQUEST.server_image}",
                f"--certload-postgres-image={REQUEST.postgres_image}",
            ],
            cwd=tmp_path,
            env={**os.environ, "VICTIM": victim},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        words = finished.stdout + finished.stderr
        assert finished.returncode == pytest.ExitCode.TESTS_FAILED, words
        assert time.time() - (tmp_path / "killing").stat().st_mtime < 60, "all is removed, too"
        assert f"StackDied: {called} died " in words
        assert "s into the load (killed by SIGKILL); " in words
        assert ("Postgres was started again on its data" in words) == (victim == "postgres")
        document = json.loads((tmp_path / "results" / "summary-death.json").read_text("utf-8"))
        processes = {part["name"]: part for part in document["proof"]["processes"]}
        assert processes[victim]["death"] == "killed by SIGKILL"
        assert 1.9 < processes[victim]["died_at"] < 30
        for part in processes.values():
            assert part["cpu_seconds"] > 0
            assert part["memory_peak"] > 1_000_000
        (effects,) = document["proof"]["effects"]
        assert effects["acknowledged"] >= 100
        assert effects["lost"] == 0


class TestThatIsInterrupted:
    def test_what_a_request_that_was_under_way_makes_later_is_found(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(running, "remove_all", lambda client, run: None)
        before = traces()
        made: list[str] = []

        def interrupted() -> None:
            with (
                open_workspace() as workspace,
                connect(60) as client,
                running.open_run(client, workspace),
            ):
                made.extend(traces())
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert made != before
        assert traces() == before

    @pytest.fixture
    def session(self, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
        (tmp_path / "test_storm.py").write_text(STORM)
        (tmp_path / "temporary").mkdir()
        with (tmp_path / "log").open("w") as output:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "pytest", "-m", "scale", "--certload-stack=docker"),
                    f"--certload-server-image={REQUEST.server_image}",
                    f"--certload-postgres-image={REQUEST.postgres_image}",
                ],
                cwd=tmp_path,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
                env={
                    **os.environ,
                    "PYTHONUNBUFFERED": "1",
                    "TMPDIR": str(tmp_path / "temporary"),
                },
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    @pytest.mark.parametrize("moment", ["migrating the schema", "starting\n"])
    def test_during_start_up(
        self, session: subprocess.Popen[str], tmp_path: Path, moment: str
    ) -> None:
        eventually(lambda: moment in (tmp_path / "log").read_text())
        session.send_signal(signal.SIGINT)
        assert exit_code_of(session, tmp_path / "log") == pytest.ExitCode.INTERRUPTED

    def test_during_load(self, session: subprocess.Popen[str], tmp_path: Path) -> None:
        eventually(lambda: (tmp_path / "loaded").exists() or session.poll() is not None)
        assert session.poll() is None, (tmp_path / "log").read_text()
        session.send_signal(signal.SIGINT)
        assert exit_code_of(session, tmp_path / "log") == pytest.ExitCode.INTERRUPTED
        document = json.loads((tmp_path / "results" / "summary-storm.json").read_text("utf-8"))
        assert document["state"] == "interrupted"

    def test_by_a_crash_of_the_test_process(
        self, session: subprocess.Popen[str], tmp_path: Path
    ) -> None:
        eventually(lambda: (tmp_path / "loaded").exists() or session.poll() is not None)
        assert session.poll() is None, (tmp_path / "log").read_text()
        assert list((tmp_path / "temporary").glob("certload-*"))
        session.kill()
        session.wait()
        # The guard has outlived it, and is done when the last of it is gone.
        eventually(lambda: not list((tmp_path / "temporary").glob("certload-*")))
