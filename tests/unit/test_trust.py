"""A file may name only classes that are allowed, with arguments of the types that they declare."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from torch import nn

from jointkd.errors import ConfigError, DataError
from jointkd.trust import Trust, build_named, trusted_names

HERE = __name__
BUILT: list[str] = []


class Part:
    """A class that a file does not name without trust."""

    def __init__(self, size: int) -> None:
        self.size = size


@dataclass
class Options:
    """One argument of each type."""

    width: int = 1
    cutoff: float = 1.0
    name: str = ""
    cap: int | None = None
    smooth: bool = True
    units: dict[str, str] = field(default_factory=dict)
    numbers: list[int] = field(default_factory=list)
    part: Part | None = None
    anything: Any = None

    def __post_init__(self) -> None:
        if self.width < 0:
            raise ConfigError("width must be positive", "give another")
        if self.width == 0:
            raise ZeroDivisionError("width")


def built(trust=(), **arguments):
    target = {"_target_": f"{HERE}.Options"}
    return build_named(target | arguments, Options, Trust(f"{HERE}.Options".__eq__, trusted_names(trust)), "a.yaml")


def test_arguments_of_the_declared_types_are_passed():
    options = built(width=3, cutoff=4, name="a", cap=None, smooth=False, units={"energy": "eV"}, numbers=[1, 2])
    assert (options.width, options.cutoff, options.units, options.numbers) == (3, 4, {"energy": "eV"}, [1, 2])
    assert built(_convert_="all", anything={"a": [None]}).anything == {"a": [None]}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("width", "x -> __import__('os').system('true')"),
        ("width", 1.5),
        ("width", True),
        ("cutoff", "4"),
        ("name", 4),
        ("cap", "none"),
        ("smooth", 1),
        ("units", {"energy": 1}),
        ("units", ["eV"]),
        ("numbers", ["1"]),
        ("part", {"size": 1}),
    ],
)
def test_an_argument_of_another_type_is_refused(name, value):
    with pytest.raises(DataError, match=rf"a\.yaml: {name}=.* is of another type than .*\.Options takes"):
        built(**{name: value})


def test_an_unknown_argument_is_refused():
    with pytest.raises(DataError, match=r"a\.yaml: .*\.Options has no argument depth"):
        built(depth=1)


def test_an_error_of_the_constructor_is_an_error_of_the_file_and_its_own_advice_stays():
    with pytest.raises(DataError, match=r"Options cannot be built \(width\)"):
        built(width=0)
    with pytest.raises(ConfigError, match="width must be positive"):
        built(width=-1)


def test_a_class_that_is_not_allowed_is_not_even_imported(tmp_path, monkeypatch):
    (tmp_path / "lying_here.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    for target in (
        "lying_here.Student",
        "os.system",
        "torch_geometric.nn.Sequential",
        "subprocess.Popen",
        "a; ls",
        "\x1b[2J.a",
        "",
        3,
        None,
    ):
        with pytest.raises(DataError) as caught:
            build_named({"_target_": target}, object, Trust(lambda target: False), "a.yaml")
        assert "a.yaml names" in str(caught.value)
    with pytest.raises(DataError, match=r"add trust=lying_here\.Student"):
        build_named({"_target_": "lying_here.Student"}, object, Trust(lambda target: False), "a.yaml")


def test_a_nested_target_is_refused_unless_it_is_trusted():
    part = {"_target_": f"{HERE}.Part", "size": 2}
    for place in ({"part": part}, {"anything": {"a": [part]}}):
        with pytest.raises(DataError, match=rf"a\.yaml: (part|anything\.a) names {HERE}\.Part"):
            built(**place)
    assert built(part=part, trust=f"{HERE}.Part").part.size == 2
    assert built(anything=[part], trust=[f"{HERE}.Part"]).anything[0].size == 2


def test_a_trusted_name_must_be_of_the_right_kind_and_importable():
    for target, problem in ((f"{HERE}.Part", "is not a subclass of Module"), (f"{HERE}.None", "cannot be imported")):
        with pytest.raises(DataError, match=problem):
            build_named({"_target_": target}, nn.Module, Trust(lambda target: False, frozenset([target])), "a.yaml")
