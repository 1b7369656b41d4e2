"""May load go to this host? A load tool must not be pointed at a stranger by a typo."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from urllib.parse import SplitResult, urlsplit

from pytest_certload.errors import ConfigurationError

__all__ = ["PRIVATE_SUFFIXES", "check_base_url", "check_host", "host_of", "is_loopback"]

# Names that no public DNS answers: RFC 6761, RFC 6762, RFC 8375, ICANN's "internal", and the
# ones that local networks have always used.
PRIVATE_SUFFIXES = (
    ".local",
    ".localhost",
    ".localdomain",
    ".internal",
    ".intranet",
    ".private",
    ".corp",
    ".home",
    ".lan",
    ".test",
    ".home.arpa",
)


def check_host(
    url: str, allow_hosts: Collection[str], *, name: str = "--certload-base-url"
) -> None:
    """Refuse a URL whose host might belong to somebody else.

    Loopback addresses and names that only a private network can resolve pass (a single label, or
    one of ``PRIVATE_SUFFIXES``).  Every other name, and every address outside loopback, private
    ranges included, must be in ``allow_hosts``: an address says nothing about whose it is.

    Args:
        url: A base URL, or the DSN of a database.
        allow_hosts: Hosts that may be loaded all the same.
        name: Where the URL was written, for the error.

    Raises:
        ConfigurationError: The host is not allowed, or the URL has none.
    """
    host = host_of(url, name=name)
    if is_loopback_host(host) or _is_private_name(host):
        return
    if host in {_normal(allowed) for allowed in allow_hosts}:
        return
    raise ConfigurationError(
        f"{name}: {host} is neither loopback nor a private name, and a load test must not hit a stranger; "
        f"if that host is yours, add --certload-allow-host {host}"
    )


def check_base_url(url: str, *, name: str = "--certload-base-url") -> str:
    """A base URL in its normal form, without a slash at the end.

    A path is refused: what a scenario asks for, such as ``/basket``, starts at the server's root, so
    a path of the base URL would silently count for nothing.

    Args:
        url: What was written.
        name: Where, for the error.

    Raises:
        ConfigurationError: The scheme is not http or https, or the host is missing, or there is
            more than scheme, host and port.
    """
    help_text = "write https://HOST:PORT"
    parts = _split(url)
    if parts is None or parts.scheme not in ("http", "https") or parts.port == 0:
        # What may hold a password is not repeated.
        shown = "" if "@" in url else f" {url!r}"
        raise ConfigurationError(f"{name}{shown} is no http or https URL; {help_text}")
    if parts.username is not None or parts.query or parts.fragment or parts.path.strip("/"):
        raise ConfigurationError(
            f"{name} holds more than scheme, host and port; {help_text}, paths in the scenario, and "
            "a token by --certload-token"
        )
    host_of(url, name=name)
    return url.rstrip("/")


def host_of(url: str, *, name: str = "--certload-base-url") -> str:
    """The host of a URL in lower case, an IPv6 address without brackets.

    Raises:
        ConfigurationError: There is none.
    """
    parts = _split(url)
    if parts is None or not parts.hostname:
        scheme = "postgresql://USER:PASSWORD@" if url.startswith("postgres") else "https://"
        raise ConfigurationError(f"{name} has no host; write {scheme}HOST:PORT")
    if "," in parts.hostname:
        raise ConfigurationError(
            f"{name}: {parts.hostname} is more than one host; name the one that is to be loaded"
        )
    return _normal(parts.hostname)


def is_loopback(url: str) -> bool:
    """Whether a URL leads to this machine by its loopback interface.

    Raises:
        ConfigurationError: It has no host.
    """
    return is_loopback_host(host_of(url))


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        # Reading the port is what checks it.
        _ = parts.port
    except ValueError:
        return None
    return parts


def _normal(host: str) -> str:
    plain = host.strip().strip("[]")
    if not plain.isascii():
        # As resolvers read it: there are other characters than "." that separate labels.
        try:
            plain = plain.encode("idna").decode("ascii")
        except UnicodeError as error:
            raise ConfigurationError(f"{host!r} is no name of a host: {error}") from error
    return plain.rstrip(".").lower()


def is_loopback_host(host: str) -> bool:
    """Whether a host in lower case is this machine's loopback interface; an IPv6 address has no brackets."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_private_name(host: str) -> bool:
    if ":" in host or _looks_like_address(host):
        return False
    return "." not in host or host.endswith(PRIVATE_SUFFIXES)


def _looks_like_address(host: str) -> bool:
    # Resolvers read "10.1", "0x0a000001" and "167772161" as IPv4 addresses too.
    last = host.rpartition(".")[2]
    return last.isdigit() or (
        last.startswith("0x") and all(c in "0123456789abcdef" for c in last[2:])
    )
