"""Griffe extension: docstrings as they are written here, prose with shapes in brackets and fields with comments."""

import io
import itertools
import re
import tokenize
from typing import Any

from griffe import Attribute, Class, Docstring, Extension, Object

CODE = re.compile(r"(`[^`]*`)")


class Docstrings(Extension):
    """Makes comments behind fields and constants part of the documentation."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = without_links(obj.docstring.value)

    def on_attribute(self, *, attr: Attribute, **_: Any) -> None:
        """A constant of a module is documented by its comment."""
        comment = comment_of(attr)
        if comment and not attr.docstring and attr.parent and attr.parent.is_module:
            attr.docstring = Docstring(without_links(comment), lineno=attr.lineno, parent=attr)

    def on_class(self, *, cls: Class, **_: Any) -> None:
        """The fields of a class are listed below its docstring: `forces: Tensor  # [N, 3] eV/Å`."""
        fields = [line for attr in cls.attributes.values() if (line := field_of(attr))]
        if cls.docstring and fields:
            cls.docstring.value += "\n\n" + "\n".join(fields)


def field_of(attr: Attribute) -> str | None:
    """The item of a list for an annotated public name in the body of a class; None for any other attribute."""
    if attr.annotation is None or attr.name.startswith("_") or "property" in attr.labels or assigned_in_method(attr):
        return None
    said = attr.docstring.value if attr.docstring else comment_of(attr)
    attr.docstring = None  # so that it does not get a section of its own as well
    return f"- `{attr.name}: {attr.annotation}`" + (f": {without_links(said)}" if said else "")


def assigned_in_method(attr: Attribute) -> bool:
    return attr.lines[0].lstrip().startswith("self.")


def comment_of(attr: Attribute) -> str | None:
    """The comment behind a definition of one or several lines, else those above it, unless it is meant for a tool."""
    try:
        code = "\n".join(line.strip() for line in attr.lines)
        tokens = list(tokenize.generate_tokens(io.StringIO(code).readline))
    except tokenize.TokenError:
        return None
    comments = [token.string for token in tokens if token.type == tokenize.COMMENT][-1:] or above(attr)
    comment = " ".join(line.lstrip("# ") for line in comments)
    return None if comment.startswith(("type:", "noqa", "fmt:")) else comment or None


def above(attr: Attribute) -> list[str]:
    """The lines of comments directly above a definition."""
    before = attr.lines_collection[attr.filepath][: (attr.lineno or 1) - 1]
    comments = itertools.takewhile(lambda line: line.startswith("#"), (line.strip() for line in reversed(before)))
    return list(comments)[::-1]


def without_links(prose: str) -> str:
    """Keep shapes that follow each other, `[B] [S]`, from being read as a link: code stays as it is."""
    return "".join(part if part.startswith("`") else re.sub(r"\](\s?)\[", r"]\1\[", part) for part in CODE.split(prose))
