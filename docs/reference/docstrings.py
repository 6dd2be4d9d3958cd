"""Griffe extension: docstrings as they are written here, prose with shapes in brackets and fields with comments."""

import io
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
        comment = comment_of(attr.lines)
        if comment and not attr.docstring and attr.parent and attr.parent.is_module:
            attr.docstring = Docstring(without_links(comment), lineno=attr.lineno, parent=attr)

    def on_class(self, *, cls: Class, **_: Any) -> None:
        """The fields of a class are listed below its docstring: `forces: Tensor  # [N, 3] eV/Å`."""
        fields = [line for attr in cls.attributes.values() if (line := field_of(attr))]
        if cls.docstring and fields:
            cls.docstring.value += "\n\n" + "\n".join(fields)


def field_of(attr: Attribute) -> str | None:
    """The item of a list for an annotated public name in the body of a class; None for any other attribute."""
    if attr.annotation is None or attr.name.startswith("_") or attr.lines[0].lstrip().startswith("self."):
        return None
    said = attr.docstring.value if attr.docstring else comment_of(attr.lines)
    attr.docstring = None  # so that it does not get a section of its own as well
    return f"- `{attr.name}: {attr.annotation}`" + (f": {without_links(said)}" if said else "")


def comment_of(lines: list[str]) -> str | None:
    """The comment behind a definition of one or several lines, unless it is meant for a tool."""
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO("\n".join(line.strip() for line in lines)).readline))
    except tokenize.TokenError:
        return None
    comments = [token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT]
    return next((c for c in comments[-1:] if not c.startswith(("type:", "noqa", "fmt:"))), None)


def without_links(prose: str) -> str:
    """Keep shapes that follow each other, `[B] [S]`, from being read as a link: code stays as it is."""
    return "".join(part if part.startswith("`") else re.sub(r"\](\s?)\[", r"]\1\[", part) for part in CODE.split(prose))
