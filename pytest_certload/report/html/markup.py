"""How does text become HTML without ever becoming markup by itself?"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

__all__ = ["Markup", "element", "join", "text"]

#: HTML has no place for them, and half of a surrogate pair no encoding.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
#: Elements that have nothing in them; those of SVG must be closed, those of HTML may be.
_VOID = frozenset({"meta", "path", "rect"})


class Markup(str):
    """HTML that is safe as it is. Only this module makes it from other text."""

    __slots__ = ()


def text(value: object) -> Markup:
    """Whatever it says, it is shown and never run; markup stays what it is."""
    if isinstance(value, Markup):
        return value
    return Markup(html.escape(_UNPRINTABLE.sub("\ufffd", str(value)), quote=True))


def join(parts: Iterable[object], separator: str = "") -> Markup:
    """Several pieces as one."""
    return Markup(text(separator).join(text(part) for part in parts))


def element(tag: str, *children: object, **attributes: object) -> Markup:
    """An element.

    Args:
        tag: Its name.
        *children: What is in it; None is left out.
        **attributes: ``class_`` is ``class``, ``data_plot`` is ``data-plot``; True is an attribute
            without a value, None and False are none.
    """
    written = "".join(
        f" {name.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{text(value)}"')
        for name, value in attributes.items()
        if value is not None and value is not False
    )
    if tag in _VOID:
        return Markup(f"<{tag}{written}/>")
    inside = "".join(text(child) for child in children if child is not None)
    return Markup(f"<{tag}{written}>{inside}</{tag}>")
