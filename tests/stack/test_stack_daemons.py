"""The TLS daemons: each says of every handshake what it was, serves what it is given, and leaves nothing."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from pytest_certload.certctl.connectors import Connectors, open_connectors
from pytest_certload.certctl.connectors.specs import NGINX, SPECS
from pytest_certload.errors import ConfigurationError, StackError
from pytest_certload.stack import StackRequest
from pytest_certload.stack.daemons import (
    DaemonMissing,
    DaemonSetup,
    Handshake,
    open_daemons,
)
from tests.stack.handshakes import ask, context_for

EMBEDDED = StackRequest(provider="embedded")
NAMES = [spec.name for spec in SPECS]
#: The stand-in speaks the newer one alone.
VERSIONS = [
    (name, version)
    for name in NAMES
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
    if (name, version) != ("f5", ssl.TLSVersion.TLSv1_2)
]


def silent(_: str) -> None:
    """Nobody waits here."""


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


@contextmanager
def opened(**options: object) -> Iterator[Connectors]:
    try:
        with open_connectors(EMBEDDED, announce=silent, **options) as connectors:
            yield connectors
    except DaemonMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def connectors() -> Iterator[Connectors]:
    with opened() as connectors:
        yield connectors


@pytest.fixture(scope="module")
def resuming() -> Iterator[Connectors]:
    with opened(resumption=True) as connectors:
        yield connectors


@pytest.mark.parametrize(("name", "version"), VERSIONS)
class TestHandshakes:
    def test_are_full_each_time_and_logged(
        self, connectors: Connectors, name: str, version: ssl.TLSVersion
    ) -> None:
        target = connectors[name]
        context = context_for(target, version)
        before = len(target.daemon.handshakes())
        session = None
        for index in range(3):
            # Also for one who would like to resume.
            asked = ask(target, target.path(index), context, session)
            assert asked.answer.startswith(b"HTTP/1.1 200 ")
            assert b"ok" in asked.answer
            assert asked.resumed is False
            session = asked.session
        eventually(lambda: len(target.daemon.handshakes()) == before + 3)
        assert target.daemon.handshakes()[before:] == [
            Handshake(target=target.path(index), full=True) for index in range(3)
        ]

    def test_that_resume_a_session_are_told_from_full_ones(
        self, resuming: Connectors, name: str, version: ssl.TLSVersion
    ) -> None:
        target = resuming[name]
        context = context_for(target, version)
        before = len(target.daemon.handshakes())
        first = ask(target, target.path(1), context)
        second = ask(target, target.path(2), context, first.session)
        assert (first.resumed, second.resumed) == (False, True)
        eventually(lambda: len(target.daemon.handshakes()) == before + 2)
        assert [found.full for found in target.daemon.handshakes()[before:]] == [True, False]


@pytest.mark.parametrize("name", NAMES)
class TestEach:
    def test_has_a_certificate_of_its_own(self, connectors: Connectors, name: str) -> None:
        fingerprints = {target.daemon.fingerprint for target in connectors}
        assert len(fingerprints) == len(NAMES)

    def test_answers_once_a_connection(self, connectors: Connectors, name: str) -> None:
        target = connectors[name]
        before = len(target.daemon.handshakes())
        twice = f"{target.path(1)} HTTP/1.1\r\nHost: x\r\n\r\nGET {target.path(2)}"
        asked = ask(target, twice, context_for(target))
        assert asked.answer.count(b"HTTP/1.1 ") == 1
        eventually(lambda: len(target.daemon.handshakes()) == before + 1)
        assert target.daemon.handshakes()[before].target == target.path(1)

    def test_counts_no_connection_without_a_request(
        self, connectors: Connectors, name: str
    ) -> None:
        target = connectors[name]
        before = len(target.daemon.handshakes())
        parts = urlsplit(target.base_url)
        with socket.create_connection((parts.hostname or "", parts.port or 0), 10) as raw:
            with context_for(target).wrap_socket(raw, server_hostname="localhost"):
                pass
        ask(target, target.path(7), context_for(target))
        eventually(lambda: len(target.daemon.handshakes()) > before)
        found = target.daemon.handshakes()[before:]
        assert found == [Handshake(target=target.path(7), full=True)]

    def test_does_not_run_as_root(self, connectors: Connectors, name: str) -> None:
        target = connectors[name]
        assert target.daemon.pid is not None
        if target.daemon.spec.package is not None:
            assert psutil.Process(target.daemon.pid).uids().effective != 0


class TestThatCannotRun:
    def test_on_an_external_stack(self) -> None:
        request = StackRequest(provider="external")
        with pytest.raises(DaemonMissing, match="--certload-stack embedded or docker"):
            with open_daemons(request, SPECS, announce=silent):
                pass

    def test_on_no_stack(self) -> None:
        with pytest.raises(ConfigurationError, match="'none' is no stack"):
            with open_daemons(StackRequest(provider="none"), SPECS, announce=silent):
                pass

    def test_without_their_programs(self) -> None:
        missing = [replace(NGINX, package="certload-none"), replace(NGINX, package="certload-nil")]
        with pytest.raises(
            DaemonMissing,
            match="apt-get install --no-install-recommends certload-none certload-nil",
        ):
            with open_daemons(EMBEDDED, missing, announce=silent):
                pass

    def test_with_a_wrong_configuration(self, connectors: Connectors) -> None:
        broken = replace(NGINX, files=lambda _: {"nginx.conf": "nonsense;"})
        with pytest.raises(StackError, match=r"(?s)nginx ended.*unknown directive \"nonsense\""):
            with open_daemons(EMBEDDED, [broken], announce=silent):
                pass

    def test_on_a_port_that_is_taken_another_one_is_chosen(self, connectors: Connectors) -> None:
        taken = urlsplit(connectors["nginx"].base_url).port
        ports: list[int] = []

        def files(setup: DaemonSetup) -> dict[str, str]:
            ports.append(setup.port)
            # The first one is lost to somebody else.
            port = taken if len(ports) == 1 else setup.port
            return dict(NGINX.files(replace(setup, port=port or 0)))

        spec = replace(NGINX, files=files)
        with pytest.MonkeyPatch.context() as patch:
            numbers = iter([1, free(), free(), free(), free()])
            patch.setattr("pytest_certload.stack.daemons.free_port", lambda: next(numbers))
            with open_daemons(EMBEDDED, [spec], announce=silent) as (daemon,):
                assert urlsplit(daemon.endpoint.base_url).port == ports[1]
        assert len(ports) == 2


def free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_line_that_says_neither_is_no_handshake(connectors: Connectors) -> None:
    daemon = replace(connectors["nginx"].daemon, read_log=lambda: "handshake / maybe\nhandshake")
    with pytest.raises(StackError, match="nginx has logged '/ maybe', which tells neither"):
        daemon.handshakes()


def test_a_line_that_is_being_written_is_not_read_yet(connectors: Connectors) -> None:
    daemon = replace(connectors["nginx"].daemon, read_log=lambda: "handshake / .\nhandshake /x")
    assert daemon.handshakes() == [Handshake(target="/", full=True)]


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="certload-test-"))
    folder.chmod(0o711)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def left_in(folder: Path) -> list[object]:
    return [*folder.iterdir(), *processes_in(folder)]


def processes_in(folder: Path) -> dict[int, str]:
    """The ids of processes that name a folder or work in it, and how they were called."""
    found = {}
    for process in psutil.process_iter():
        try:
            words = " ".join([*process.cmdline(), process.cwd()])
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
        if str(folder) in words:
            found[process.pid] = words
    return found


def test_nothing_is_left_of_them(temporary: Path) -> None:
    with opened() as connectors:
        # They are seen, so that nothing is seen afterwards means something.
        assert {target.daemon.pid for target in connectors} <= processes_in(temporary).keys()
        assert list(temporary.iterdir())
    assert left_in(temporary) == []


def test_nothing_is_left_of_them_when_the_process_dies(tmp_path: Path, temporary: Path) -> None:
    ready = tmp_path / "ready"
    source = f"""
import pathlib, signal
from pytest_certload.certctl.connectors import open_connectors
from pytest_certload.stack import StackRequest
with open_connectors(StackRequest(provider="embedded"), announce=lambda _: None) as connectors:
    pathlib.Path({str(ready)!r}).touch()
    signal.pause()
"""
    with opened():
        pass  # skips where a program is missing
    process = subprocess.Popen(
        [sys.executable, "-c", source], env={**os.environ, "TMPDIR": str(temporary)}
    )
    try:
        eventually(ready.exists)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    eventually(lambda: left_in(temporary) == [])
