"""Text files are UTF-8, whatever the locale. (ruff's PLW1514 sees it only where it can infer the type.)"""

import ast
from pathlib import Path

import jointkd

PACKAGE = Path(jointkd.__file__).parent
TEXT = {"open", "read_text", "write_text", "TextIOWrapper"}
OTHERS = {"lmdb", "tarfile", "h5py", "cls", "LabelStore", "part", "opener", "os"}  # whose `open` opens no text file


def opens_text_of_the_locale(call: ast.Call) -> bool:
    """Whether a call opens, reads or writes a text file in the encoding of the locale."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    owner = getattr(getattr(call.func, "value", None), "id", "")
    values = [*call.args, *(keyword.value for keyword in call.keywords)]
    modes = [value.value for value in values if isinstance(value, ast.Constant)]
    binary = any(isinstance(mode, str) and "b" in mode for mode in modes)
    named = any(keyword.arg == "encoding" for keyword in call.keywords)
    method = isinstance(call.func, ast.Attribute) or name == "open"  # `read_text` alone is a function of another kind
    return method and name in TEXT and not (named or owner in OTHERS or (name == "open" and binary))


def test_every_text_file_of_the_package_is_opened_with_an_encoding():
    found = []
    for file in PACKAGE.rglob("*.py"):
        tree = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        calls = [node for node in tree if isinstance(node, ast.Call)]
        found += [f"{file.relative_to(PACKAGE)}:{call.lineno}" for call in calls if opens_text_of_the_locale(call)]
    assert found == []
