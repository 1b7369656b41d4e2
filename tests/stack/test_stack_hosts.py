"""Load goes to loopback and private names; anybody else must be named."""

from __future__ import annotations

import pytest

from pytest_certload.errors import ConfigurationError
from pytest_certload.stack.containers.daemon import DaemonUnavailable, connect
from pytest_certload.stack.hosts import check_base_url, check_host, host_of


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST.",
        "127.0.0.1",
        "127.8.9.10",
        "[::1]",
        "certctl",
        "db.internal",
        "a.b.test",
        "printer.local",
        "x.localhost",
        "nas.home.arpa",
    ],
)
def test_may_be_loaded(host: str) -> None:
    check_host(f"https://{host}:8443", ())


@pytest.mark.parametrize(
    "host",
    [
        "example.com",
        "localhost.example.com",
        "internal.example",
        "a.mytest",
        "10.0.0.1",
        "192.168.1.1",
        "172.17.0.2",
        "0.0.0.0",
        "[2001:db8::1]",
        "[fe80::1]",
        "10.1",
        "0x0a000001",
        "167772161",
        "example\u3002com",
        "example\uff61com",
    ],
)
def test_must_be_named(host: str) -> None:
    plain = host.strip("[]").encode("idna").decode("ascii")
    with pytest.raises(ConfigurationError, match="--certload-allow-host") as caught:
        check_host(f"https://{host}:8443", ("another.example",))
    assert plain in str(caught.value)
    check_host(f"https://{host}:8443", (plain.upper(),))


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("https://localhost:8443/", "https://localhost:8443"),
        ("https://[::1]:1", "https://[::1]:1"),
    ],
)
def test_base_urls(url: str, normal: str) -> None:
    assert check_base_url(url) == normal


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://localhost", "'ftp://localhost' is no http or https URL; write https://HOST:PORT"),
        ("localhost:8443", "'localhost:8443' is no http or https URL"),
        ("", "'' is no http or https URL"),
        ("https://localhost:99999", "is no http or https URL"),
        ("https://user:pw@localhost", "holds more than scheme, host and port"),
        ("ftp://user:pw@localhost", "--certload-base-url is no http or https URL"),
        ("https://localhost?x=1", "holds more than scheme, host and port"),
        ("https://localhost/api/", "holds more than scheme, host and port"),
        ("https://", "has no host"),
    ],
)
def test_what_is_no_base_url(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_base_url(url)
    assert message in str(caught.value)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://u:p@stranger.com,db.internal/x", "is more than one host"),
        ("https://.x\u3002\u3002y", "is no name of a host"),
    ],
)
def test_what_is_no_host(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        check_host(url, ())


def test_host_of() -> None:
    assert host_of("https://Example.ORG.:1/") == "example.org"
    assert host_of("postgresql://u:p@[::1]/d") == "::1"


@pytest.mark.parametrize(
    "host",
    ["tcp://docker:2375", "docker:2375", "ssh://me@build.example.com", "tcp://10.0.0.7:2376"],
)
def test_a_docker_daemon_on_another_machine_is_none(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It publishes ports on a loopback that is not ours."""
    monkeypatch.setenv("DOCKER_HOST", host)
    with (
        pytest.raises(
            DaemonUnavailable, match=r"on another machine, \S+, .*; unset DOCKER_HOST or"
        ),
        connect(1),
    ):
        pass


@pytest.mark.parametrize(
    "host", ["tcp://127.0.0.1:9", "tcp://[::1]:9", "tcp://localhost:9", "tcp://:9", "127.0.0.1:9"]
)
def test_one_on_this_machine_is_asked(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    with pytest.raises(DaemonUnavailable, match="No Docker daemon answers"), connect(1):
        pass
