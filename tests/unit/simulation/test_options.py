"""The ranges of the options of a simulation."""

from dataclasses import MISSING, fields

import pytest
from omegaconf import OmegaConf

from jointkd.cli.config_tree import CONF
from jointkd.errors import ConfigError
from jointkd.simulation.options import SimulationOptions


def test_the_defaults_are_those_of_the_paper():
    options = SimulationOptions(run="", structures="", directory="")
    assert (options.ensemble, options.temperature, options.timestep, options.friction) == ("nvt", 300.0, 1.0, 0.01)
    assert options.bond_tolerance == 0.5


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("temperature", -10.0, "temperature=-10.0 must not be negative, and must be finite; the default is 300.0"),
        ("temperature", float("inf"), "temperature=inf must not be negative, and must be finite"),
        ("timestep", 0.0, "timestep=0.0 must be a positive number; the default is 1.0"),
        ("timestep", float("nan"), "timestep=nan must be a positive number"),
        ("friction", -1.0, "friction=-1.0 must be a positive number; the default is 0.01"),
        ("seed", -1, "seed=-1 must not be negative"),
        ("steps", 0, "steps=0 must be a positive integer; the default is 10000"),
        ("interval", -5, "interval=-5 must be a positive integer; the default is 50"),
        ("bond_tolerance", 0.0, "bond_tolerance=0.0 must be a positive number; the default is 0.5"),
        ("contact", 1.0, "contact=1.0 must be from 0 to below 1; the default is 0.6"),
        ("uncertainty", 0.0, "uncertainty=0.0 must be a positive number or null; the default is None"),
        ("ensemble", "npt", "ensemble=npt is not known; choose one of nvt, nve"),
        ("stop_when", "always", "stop_when=always is not known; choose one of broken, bond, never"),
        ("dtype", "float16", "dtype=float16 is not known; choose one of float32, float64"),
    ],
)
def test_a_value_out_of_range_is_refused_with_its_name_and_the_default(name, value, message):
    with pytest.raises(ConfigError) as refused:
        SimulationOptions(run="", structures="", directory="", **{name: value})
    assert message in str(refused.value)


@pytest.mark.parametrize(("name", "value"), [("temperature", 0.0), ("seed", 0), ("contact", 0.0), ("index", -1)])
def test_the_ends_of_ranges_are_accepted(name, value):
    assert getattr(SimulationOptions(run="", structures="", directory="", **{name: value}), name) == value


def test_the_configuration_file_has_the_same_options_and_defaults():
    written = OmegaConf.load(CONF / "simulate.yaml")
    for field in fields(SimulationOptions):
        if field.default is not MISSING:
            assert written[field.name] == field.default, field.name
