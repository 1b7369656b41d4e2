"""What is a rung? A name, settings of Postgres and variables of the server, read from a TOML file."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from pytest_certload.errors import ConfigurationError
from pytest_certload.stack.settings import parse_setting

__all__ = ["Rung", "read_rungs"]

_NONE: Mapping[str, str] = MappingProxyType({})
_KEYS = ("name", "postgres", "server")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_EXAMPLE = '[[rung]] with name = "…", postgres = {shared_buffers = "512MB"}, server = {NAME = "…"}'


@dataclass(frozen=True, kw_only=True)
class Rung:
    """What is different on this rung from what the stack does by itself.

    Attributes:
        name: In the table.
        postgres: Settings of Postgres.
        server: Environment variables of the server.
    """

    name: str
    postgres: Mapping[str, str] = field(default_factory=lambda: _NONE)
    server: Mapping[str, str] = field(default_factory=lambda: _NONE)

    @property
    def options(self) -> list[str]:
        """The command line's words for it."""
        return [
            *(
                f"--certload-postgres-setting={name}={value}"
                for name, value in self.postgres.items()
            ),
            *(f"--certload-server-env={name}={value}" for name, value in self.server.items()),
        ]

    @property
    def folder(self) -> str:
        """Its name as a folder's."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-") or "rung"


def read_rungs(path: Path) -> tuple[Rung, ...]:
    """The rungs in a file, in its order; the others are compared with the first.

    Raises:
        ConfigurationError: It cannot be read, is no TOML, or holds no rungs; the message says which.
    """
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{path} is no TOML: {error}") from error
    entries = document.get("rung")
    if not isinstance(entries, list) or not entries or document.keys() != {"rung"}:
        raise ConfigurationError(f"{path} holds something else than rungs; write {_EXAMPLE}")
    rungs = tuple(_rung(entry, f"{path}, rung {n}") for n, entry in enumerate(entries, 1))
    folders = [rung.folder for rung in rungs]
    for rung in rungs:
        if folders.count(rung.folder) > 1:
            raise ConfigurationError(
                f"{path}: more than one rung has the name {rung.name!r}, or one like it; "
                "give each its own"
            )
    return rungs


def _rung(entry: object, where: str) -> Rung:
    if not isinstance(entry, dict) or not entry.keys() <= set(_KEYS):
        raise ConfigurationError(f"{where}: a rung has {', '.join(_KEYS)} alone; write {_EXAMPLE}")
    name = entry.get("name")
    if not isinstance(name, str) or not name.strip():
        raise ConfigurationError(f'{where} has no name; write name = "…"')
    postgres = _pairs(entry.get("postgres", {}), f"{where}, postgres", on="on", off="off")
    server = _pairs(entry.get("server", {}), f"{where}, server", on="true", off="false")
    try:
        settings = dict(parse_setting(f"{key}={value}") for key, value in postgres.items())
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error}") from error
    for variable in server:
        if not _VARIABLE.fullmatch(variable):
            raise ConfigurationError(f"{where}: {variable!r} is no name of a variable")
    return Rung(name=name.strip(), postgres=settings, server=server)


def _pairs(table: object, where: str, *, on: str, off: str) -> dict[str, str]:
    if not isinstance(table, dict):
        raise ConfigurationError(f"{where} is no table; write {_EXAMPLE}")
    pairs = {}
    for name, value in table.items():
        if isinstance(value, bool):
            pairs[name] = on if value else off
        elif isinstance(value, str | int | float):
            pairs[name] = str(value)
        else:
            raise ConfigurationError(f"{where}: {name} is neither a text nor a number")
    return pairs
