"""How is a table written? With a caption, heads, figures to the right, and room to scroll on a phone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .markup import Markup, element, join

__all__ = ["Column", "block", "facts", "fold", "table"]

#: Rows beyond these are there, and folded.
MOST_ROWS = 20


@dataclass(frozen=True)
class Column:
    """Its head, and what is in it: ``figure`` (to the right), ``words``, ``words wide`` or ``code``."""

    head: object
    kind: str = "figure"


def table(
    caption: str,
    columns: Sequence[Column],
    rows: Sequence[Sequence[object]],
    *,
    most: int = MOST_ROWS,
) -> Markup:
    """A table; the first cell of a row is its head. Rows beyond ``most`` are folded."""
    shown, rest = rows[:most], rows[most:]
    first = _table(caption, columns, shown)
    if not rest:
        return first
    more = f"{len(rest):,} more"
    return join([first, fold(more, _table(f"{caption}, the rest", columns, rest))])


def _table(caption: str, columns: Sequence[Column], rows: Sequence[Sequence[object]]) -> Markup:
    body = [
        element(
            "tr",
            *(
                element(
                    "td" if number else "th",
                    cell,
                    class_=column.kind,
                    scope=None if number else "row",
                )
                for number, (column, cell) in enumerate(zip(columns, row, strict=True))
            ),
        )
        for row in rows
    ]
    heads = [element("th", column.head, class_=column.kind, scope="col") for column in columns]
    return element(
        "div",
        element(
            "table",
            element("caption", caption, class_="unseen"),
            element("thead", element("tr", *heads)),
            element("tbody", *body),
        ),
        class_="scroll",
        tabindex=0,
        role="region",
        aria_label=caption,
    )


def facts(pairs: Sequence[tuple[object, object]]) -> Markup:
    """Names with their values."""
    return element(
        "dl",
        *(element("div", element("dt", name), element("dd", value)) for name, value in pairs),
        class_="facts",
    )


def fold(summary: object, *content: object) -> Markup:
    """What is there for who asks."""
    return element("details", element("summary", summary), *content)


def block(title: str, *content: object, hint: str | None = None) -> Markup:
    """A part of a run under a heading of its own; None in it is left out."""
    return element(
        "section",
        element("h3", title),
        element("p", hint, class_="hint") if hint else None,
        *content,
        class_="block",
    )
