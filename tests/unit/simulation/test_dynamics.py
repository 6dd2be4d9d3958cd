"""Integrators, thermostat, events that end a simulation, and its summary."""

import csv
import json

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.constraints import FixCom
from ase.io import read

from jointkd.errors import DataError
from jointkd.simulation.dynamics import Simulation, integrator, known_lengths, ns_per_day
from jointkd.simulation.options import SimulationOptions
from jointkd.simulation.outputs import SimulationFolder
from jointkd.simulation.stability import CONTACT, REARRANGEMENT, Stability
from jointkd.simulation.start import thermalize
from tests.unit.simulation.test_stability import hydroxonium


class Push(Calculator):
    """A constant force (eV/Å) on every atom; `conservative` is what `integrator` asks of a model."""

    implemented_properties = ("energy", "forces")

    def __init__(self, forces) -> None:
        super().__init__()
        self.forces, self.model, self.conservative = np.asarray(forces, dtype=float), self, True

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        if not np.isfinite(atoms.positions).all():
            raise DataError("positions of atoms are not finite", "remedy")
        self.results = {"energy": -float((self.forces * atoms.positions).sum()), "forces": self.forces.copy()}


def free(atoms: Atoms) -> Atoms:
    atoms.calc = Push(np.zeros((len(atoms), 3)))
    return atoms


def options_of(**others) -> SimulationOptions:
    return SimulationOptions(run="", structures="", directory="", **others)


def test_momenta_have_the_requested_temperature_and_depend_on_the_seed_alone():
    atoms = bulk("Cu", cubic=True) * (10, 10, 10)
    thermalize(atoms, 300.0, np.random.default_rng(1))
    assert atoms.get_temperature() == pytest.approx(300.0, rel=0.03)
    again = atoms.copy()
    thermalize(again, 300.0, np.random.default_rng(1))
    np.testing.assert_array_equal(again.get_momenta(), atoms.get_momenta())


@pytest.mark.parametrize("lengths", [["C4-H1"], {"C4-H1": "long"}, {"C4-H1": -1.0}, {"C4-H1": float("nan")}, 1.09])
def test_lengths_of_a_file_that_are_not_lengths_are_refused(lengths):
    assert known_lengths("run", {"bond_lengths": {"C4-H1": 1.09}}) == {"C4-H1": 1.09}
    assert known_lengths("run", {}) == {}
    with pytest.raises(DataError, match="run=run has lengths of bonds that are not positive numbers"):
        known_lengths("run", {"bond_lengths": lengths})


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("ensemble", ["nvt", "nve"])
def test_integrators_use_nothing_that_ase_has_deprecated(ensemble):
    atoms = free(molecule("CH3OH"))
    thermalize(atoms, 300.0, np.random.default_rng(0))
    integrator(atoms, options_of(ensemble=ensemble, timestep=0.1), np.random.default_rng(0)).run(2)


def test_the_friction_is_per_femtosecond():
    atoms = free(Atoms("Ar2", [[0, 0, 0], [0, 0, 50]]))
    atoms.set_velocities([[0, 0, -1e-3], [0, 0, 1e-3]])
    before = atoms.get_velocities()
    integrator(atoms, options_of(temperature=0.0, friction=0.01), np.random.default_rng(0)).run(100)  # 100 fs
    np.testing.assert_allclose(atoms.get_velocities(), before * np.exp(-1), rtol=1e-3)


def test_the_thermostat_keeps_the_temperature():
    atoms = free(bulk("Cu", cubic=True) * (8, 8, 8))
    atoms.set_constraint(FixCom())
    options = options_of(temperature=450.0, friction=0.1)
    integrator(atoms, options, np.random.default_rng(0)).run(60)  # from 0 K, for six relaxation times
    assert atoms.get_temperature() == pytest.approx(450.0, rel=0.05)


def test_a_timestep_is_in_femtoseconds():
    atoms = free(Atoms("Ar2", [[0, 0, 0], [0, 0, 50]]))
    dynamics = integrator(atoms, options_of(ensemble="nve", timestep=2.0), np.random.default_rng(0))
    dynamics.run(5)
    assert dynamics.get_time() == pytest.approx(10 * units.fs)


def test_the_speed_is_in_nanoseconds_per_day():
    assert ns_per_day(steps=1000, timestep=1.0, seconds=86.4) == pytest.approx(1.0)  # 1 ps in a thousandth of a day
    assert ns_per_day(steps=500, timestep=2.0, seconds=864.0) == pytest.approx(0.1)
    assert ns_per_day(0, 1.0, 0.0) == 0.0


def pulled(tmp_path, strength: float | np.ndarray, atoms: Atoms | None = None, **options) -> tuple[dict, Simulation]:
    """A molecule of iodine whose atoms are pulled apart by a force, eV/Å; or other atoms with other constant forces."""
    atoms = atoms or Atoms("I2", [[0, 0, 0], [0, 0, 2.67]])
    atoms.calc = Push(np.outer([-1, 1], [0, 0, strength]) if np.isscalar(strength) else strength)
    options = options_of(ensemble="nve", steps=400, interval=1, **options)
    stability = Stability(atoms, options.bond_tolerance, options.contact, {})
    with SimulationFolder(str(tmp_path / "results")) as folder:
        simulation = Simulation(integrator(atoms, options, np.random.default_rng(0)), atoms, stability, folder, options)
        simulation.run()
    return simulation.summary(), simulation


def length_at(time_ps: float, strength: float) -> float:
    """The length of the bond of `pulled` at a time, Å."""
    acceleration = 2 * strength / (Atoms("I").get_masses()[0])
    return 2.67 + acceleration * (1000 * units.fs * time_ps) ** 2 / 2


def test_a_broken_molecule_ends_the_simulation_and_a_deviating_bond_alone_does_not(tmp_path):
    summary, _ = pulled(tmp_path, 0.5)
    assert summary["stable"] is False
    assert summary["steps"] < 400
    assert [event["kind"] for event in summary["events"]] == ["bond deviation", "fragments"]
    assert all(event["atoms"] == (0, 1) for event in summary["events"])
    assert length_at(summary["stable_ps"], 0.5) < 1.5 * 2 * 1.39 < length_at(summary["stable_ps"] + 0.001, 0.5)
    assert length_at(summary["bonds_kept_ps"], 0.5) < 3.17 < length_at(summary["bonds_kept_ps"] + 0.001, 0.5)
    assert summary["events"][0]["time_ps"] == pytest.approx(summary["bonds_kept_ps"] + 0.001)
    with (tmp_path / "results" / "events.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["event"], row["atoms"]) for row in rows] == [("bond deviation", "0 1"), ("fragments", "0 1")]


def test_the_speed_in_the_summary_is_that_of_the_steps_that_were_made(tmp_path):
    summary, simulation = pulled(tmp_path, 0.5, timestep=1.0)
    steps, seconds = simulation.dynamics.nsteps, simulation.seconds
    assert summary["steps"] == steps > 0
    assert summary["steps_per_second"] == pytest.approx(steps / seconds)
    assert summary["ns_per_day"] == pytest.approx(ns_per_day(steps, 1.0, seconds))


def test_the_papers_criterion_ends_it_at_the_first_bond_that_deviates(tmp_path):
    summary, _ = pulled(tmp_path, 0.5, stop_when="bond", bond_tolerance=0.3)
    assert [event["kind"] for event in summary["events"]] == ["bond deviation"]
    assert summary["stable_ps"] == summary["bonds_kept_ps"]
    assert length_at(summary["stable_ps"], 0.5) < 2.97 < length_at(summary["stable_ps"] + 0.001, 0.5)


def test_it_goes_on_where_nothing_is_to_stop_it_and_says_how_long_it_was_stable(tmp_path):
    summary, _ = pulled(tmp_path, 0.5, stop_when="never")
    assert summary["steps"] == 400
    assert summary["stable"] is False
    assert length_at(summary["stable_ps"], 0.5) < 1.5 * 2 * 1.39
    assert len(read(tmp_path / "results" / "trajectory.xyz", index=":")) == 401


@pytest.mark.parametrize(("stop_when", "kinds"), [("broken", [REARRANGEMENT, CONTACT]), ("bond", [REARRANGEMENT])])
def test_a_proton_that_hops_ends_the_simulation_only_by_the_papers_criterion(tmp_path, caplog, stop_when, kinds):
    forces = np.zeros((7, 3))
    forces[6, 0] = 0.05  # from one oxygen to the other, and on until they collide
    summary, _ = pulled(tmp_path, forces, hydroxonium(1.0), stop_when=stop_when)
    assert [event["kind"] for event in summary["events"]] == kinds
    assert summary["events"][0]["atoms"] == (0, 3, 6)
    assert "the bond O0-H6 is 1.5" in summary["events"][0]["description"]
    assert summary["bonds_kept_ps"] == pytest.approx(summary["events"][0]["time_ps"] - 0.001)
    assert summary["stable_ps"] == pytest.approx(summary["events"][-1]["time_ps"] - 0.001)
    assert len([line for line in caplog.messages if line.startswith("unstable after")]) == 1


def test_a_stable_simulation_is_stable_to_its_end(tmp_path):
    summary, _ = pulled(tmp_path, 1e-4)
    assert summary["stable"] is True
    assert summary["stable_ps"] == summary["bonds_kept_ps"] == pytest.approx(0.4)
    assert summary["events"] == []
    json.dumps(summary)


def test_positions_that_cease_to_be_finite_between_two_checks_end_it(tmp_path, caplog):
    atoms = Atoms("I2", [[0, 0, 0], [0, 0, 2.67]])
    atoms.calc = Push(np.full((2, 3), np.nan))
    options = options_of(ensemble="nve", steps=100, interval=50, stop_when="never")
    with SimulationFolder(str(tmp_path / "results")) as folder:
        stability = Stability(atoms, 0.5, 0.6, {})
        simulation = Simulation(integrator(atoms, options, np.random.default_rng(0)), atoms, stability, folder, options)
        simulation.run()
    assert [event["kind"] for event in simulation.summary()["events"]] == ["not finite"]
    assert caplog.messages == ["unstable after 0.000 ps: not finite: positions of 2 atoms are not finite"]
    assert simulation.summary()["stable"] is False


def test_the_progress_is_said_in_a_line_for_every_tenth_with_the_time_left(tmp_path, caplog):
    caplog.set_level("INFO")
    _, simulation = pulled(tmp_path, 1e-4)
    assert [message.split(",")[0] for message in caplog.messages] == [
        f"{steps} of 400 steps ({steps / 1000:.3g} ps)" for steps in range(40, 401, 40)
    ]
    simulation.dynamics.nsteps, simulation.seconds = 100, 86.4
    assert simulation.describe_progress() == "100 of 400 steps (0.1 ps), 0.1 ns/day, 4 min left"
