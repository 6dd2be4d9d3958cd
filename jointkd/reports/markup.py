"""HTML as values: every text is escaped, and every element is closed."""

import html
from base64 import b64encode
from collections.abc import Iterable
from pathlib import Path

from jointkd.reports.tables import Table

PIXELS = 1.75  # of a plot, for each of the page
EMPTY = {"img", "meta", "br"}  # elements without content


class Html(str):
    """A piece of HTML; other strings are text, to be escaped."""

    __slots__ = ()


def element(name: str, /, *content: object, **attributes: object) -> Html:
    """An element. content: pieces of HTML, or what is shown as text; attributes: `class_` for class, None for none."""
    given = "".join(
        f' {key.rstrip("_")}="{html.escape(str(value))}"' for key, value in attributes.items() if value is not None
    )
    if name in EMPTY:
        return Html(f"<{name}{given}>")
    return Html(f"<{name}{given}>{joined(content)}</{name}>")


def joined(content: Iterable[object]) -> Html:
    """Pieces of HTML and texts one after the other."""
    return Html("".join(piece if isinstance(piece, Html) else html.escape(str(piece)) for piece in content))


def image(file: Path, title: str) -> Html:
    """A PNG file as part of the page, at about the size for which it was drawn."""
    content = file.read_bytes()
    width = round(int.from_bytes(content[16:20]) / PIXELS)  # of a PNG's header
    return element("img", src=f"data:image/png;base64,{b64encode(content).decode()}", alt=title, width=width)


def table(content: Table) -> Html:
    """A table; numbers are aligned to the right, and it scrolls where it is wider than the page."""
    numeric = [all(is_numeric(row[column]) for row in content.rows) for column in range(len(content.head))]
    kinds = ["number" if each else None for each in numeric]
    head = element("tr", *(element("th", text, class_=kind) for text, kind in zip(content.head, kinds, strict=True)))
    rows = [
        element(
            "tr",
            *(
                element("td", element("strong", text) if (number, column) in content.best else text, class_=kind)
                for column, (text, kind) in enumerate(zip(row, kinds, strict=True))
            ),
        )
        for number, row in enumerate(content.rows)
    ]
    inner = element("table", element("thead", head), element("tbody", *rows))
    return element("div", inner, class_="scroll")


def is_numeric(text: str) -> bool:
    """Whether a cell begins with a number, or is empty."""
    return text[:1].isdigit() or text[:1] in ("-", "–", "")
