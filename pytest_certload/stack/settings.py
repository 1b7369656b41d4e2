"""Which settings of Postgres may be asked for? Any of a stack of our own but those that it lives by."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from pytest_certload.errors import ConfigurationError, StackError

__all__ = ["OPTION", "explaining_settings", "parse_setting", "refuse_settings"]

OPTION = "--certload-postgres-setting"
_NAME = re.compile(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?")
#: Where the stack and its witnesses would no longer find it, and why.
_RESERVED: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "listen_addresses", "port", "unix_socket_directories", "data_directory", "config_file",
            "hba_file", "ident_file", "external_pid_file", "ssl",
        ),
        "the stack says where Postgres is and who may come in",
    ),
    **dict.fromkeys(
        ("shared_preload_libraries", "logging_collector", "log_destination", "log_min_messages"),
        "the stack reads Postgres's statements and its log",
    ),
}  # fmt: skip


def parse_setting(text: str) -> tuple[str, str]:
    """A setting such as ``shared_buffers=512MB``, its name in small letters.

    Raises:
        ConfigurationError: It is none, or one that the stack needs as it is.
    """
    name, separator, value = text.partition("=")
    name = name.strip().lower()
    if not separator or not _NAME.fullmatch(name) or "\0" in value:
        raise ConfigurationError(
            f"{text!r} is no setting of Postgres; write NAME=VALUE, such as shared_buffers=512MB"
        )
    if name in _RESERVED:
        raise ConfigurationError(f"{name} cannot be set: {_RESERVED[name]}; leave it out")
    return name, value.strip()


def refuse_settings(settings: Mapping[str, str]) -> None:
    """Refuse settings for a Postgres that is not ours to start.

    Raises:
        ConfigurationError: There are some.
    """
    if settings:
        given = ", ".join(f"{name}={value}" for name, value in settings.items())
        raise ConfigurationError(
            f"{OPTION} {given}: the Postgres of an external stack is not ours to set; set it there "
            "(ALTER SYSTEM, and a restart where the setting wants one) and leave the option out"
        )


@contextmanager
def explaining_settings(settings: Mapping[str, str]) -> Iterator[None]:
    """Name the settings that were asked for when Postgres does not start.

    Raises:
        StackError: Within, it did not start.
    """
    try:
        yield
    except StackError as error:
        if not settings:
            raise
        given = ", ".join(f"{name}={value}" for name, value in settings.items())
        raise StackError(f"{error} It was started with {OPTION} {given}.") from error
