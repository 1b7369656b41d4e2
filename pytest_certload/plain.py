"""How does plain data from a file become a record again? By the record's own types, and nothing else."""

from __future__ import annotations

import math
import reprlib
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

__all__ = ["read_record"]

T = TypeVar("T")

_SCALARS: Mapping[type, tuple[type, ...]] = {
    str: (str,),
    bool: (bool,),
    int: (int,),
    float: (float, int),
}


def read_record(kind: type[T], document: object) -> T:
    """A frozen dataclass from the plain data that ``dataclasses.asdict`` and JSON make of it.

    Every value is held against its field's type: a figure that is none is found here, and not by who
    counts with it. What has a default came later, so it may be missing.

    Args:
        kind: A dataclass whose fields are scalars, other such dataclasses, ``tuple[X, ...]``, mappings of
            these with keys of ``str`` or ``int``, or one of them or None.
        document: The data.

    Raises:
        ValueError: It is not such data; the message names the place.
    """
    value: T = _read(kind, document, "")
    return value


def _read(kind: Any, value: Any, where: str) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _read_one_of(inner, value, where)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise _wrong(value, "list", where)
        return tuple(_read(inner[0], part, f"{where}[{n}]") for n, part in enumerate(value))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise _wrong(value, "object", where)
        return {
            _key(inner[0], k, where): _read(inner[1], v, f"{where}.{k}") for k, v in value.items()
        }
    if is_dataclass(kind):
        return _read_dataclass(kind, value, where)
    if not _is_scalar(kind, value):
        raise _wrong(value, {str: "text", bool: "truth value"}.get(kind, "number"), where)
    return value


def _read_one_of(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    others = [kind for kind in kinds if kind is not types.NoneType]
    if value is None and len(others) < len(kinds):
        return None
    fitting = [kind for kind in others if kind in _SCALARS and _is_scalar(kind, value)]
    return _read((fitting or others)[0], value, where)


def _read_dataclass(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise _wrong(value, "object", where)
    unknown = value.keys() - {name for name, _, _ in _fields(kind)}
    if unknown:
        raise ValueError(f"{where or 'it'}: {reprlib.repr(min(unknown))} is not known")
    known = {}
    for name, hint, may_be_missing in _fields(kind):
        if name in value:
            known[name] = _read(hint, value[name], f"{where}.{name}" if where else name)
        elif not may_be_missing:
            raise ValueError(f"{where}.{name} is missing" if where else f"{name} is missing")
    return kind(**known)


@cache
def _fields(kind: Any) -> list[tuple[str, Any, bool]]:
    hints = get_type_hints(kind)
    return [
        (f.name, hints[f.name], f.default is not MISSING or f.default_factory is not MISSING)
        for f in fields(kind)
    ]


def _key(kind: Any, key: str, where: str) -> Any:
    if kind is not int:
        return key
    try:
        return int(key)
    except ValueError:
        raise _wrong(key, "number", where) from None


def _is_scalar(kind: Any, value: Any) -> bool:
    if isinstance(value, bool):
        return kind is bool
    # What JSON does not know and Python reads all the same: NaN, Infinity.
    return isinstance(value, _SCALARS[kind]) and (
        not isinstance(value, float) or math.isfinite(value)
    )


def _wrong(value: Any, wanted: str, where: str) -> ValueError:
    return ValueError(f"{where or 'it'}: {reprlib.repr(value)} is no {wanted}")
