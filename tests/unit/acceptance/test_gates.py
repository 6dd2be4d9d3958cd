"""Each gate is passed by a potential without fault, and not by one with the fault that it looks for."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.constraints import FixCom

from jointkd.acceptance.conservation import conservation
from jointkd.acceptance.consistency import consistency
from jointkd.acceptance.dimers import dimers
from jointkd.acceptance.gate import at_least, at_most, unmeasured
from jointkd.acceptance.options import (
    AcceptanceOptions,
    ConservationLimits,
    ConsistencyLimits,
    DimerLimits,
    StabilityLimits,
)
from jointkd.acceptance.stability import stability
from jointkd.errors import ConfigError
from tests.unit.acceptance.toys import collapsing, model_of, morse


def iodine(*more: float) -> list[Atoms]:
    """A molecule of iodine, and others that are longer by so many Å."""
    molecules = []
    for longer in (0.0, *more):
        atoms = Atoms("I2", [[0, 0, 0], [0.1, 0.2, 2.67 + longer]])
        atoms.set_constraint(FixCom())
        molecules.append(atoms)
    return molecules


def crystal() -> Atoms:
    atoms = Atoms("I2", [[0, 0, 0], [1.4, 1.3, 1.5]], cell=[[4.0, 0, 0.3], [0, 4.1, 0], [0.2, 0, 3.9]], pbc=True)
    atoms.set_constraint(FixCom())
    return atoms


SHORT = StabilityLimits(replicas=4, time=0.32, timestep=2.0, interval=5)


def test_a_molecule_that_stays_whole_passes_and_visits_frames():
    (result,) = stability(model_of(), iodine(0.05), {}, SHORT, seed=0)
    assert result.gate.passed
    assert (result.gate.value, result.gate.name) == (0.0, "stability at 400 K")
    assert len(result.visited) == 4 * 4
    assert len({atoms.positions.tobytes() for atoms in result.visited}) == 16
    assert [len(each.times) for each in result.watched] == [33] * 4


def test_a_student_that_lets_atoms_collapse_fails_and_its_frames_are_not_visited():
    (result,) = stability(model_of(collapsing), iodine(0.05), {}, SHORT, seed=0)
    assert not result.gate.passed
    assert result.gate.value == 1.0
    assert "4 of 4 replicas broke within 0.32 ps; structure" in result.gate.detail
    assert "close contact, I0 and I1 are" in result.gate.detail
    assert len(result.visited) < 8


def test_a_molecule_that_falls_apart_fails_and_a_share_may_be_allowed():
    weak = model_of(lambda distance: morse(distance, depth=1e-3))
    hot = StabilityLimits(temperatures=[300.0, 4000.0], replicas=2, time=1.0, timestep=4.0, interval=10)
    cold, warm = stability(weak, iodine(), {}, hot, seed=0)
    assert not warm.gate.passed
    assert "fragments, 2 molecules instead of 1" in warm.gate.detail
    assert warm.gate.name == "stability at 4000 K"
    assert cold.gate.value <= warm.gate.value
    lenient = StabilityLimits(temperatures=[4000.0], replicas=2, time=1.0, timestep=4.0, interval=10, broken=1.0)
    assert stability(weak, iodine(), {}, lenient, seed=0)[0].gate.passed


def test_bonds_that_deviate_are_reported_and_do_not_fail():
    (result,) = stability(model_of(), iodine(), {"I1-I1": 2.0}, SHORT, seed=0)
    assert result.gate.passed
    assert "bond deviations in 4" in result.gate.detail


def test_energy_is_conserved_by_a_potential_and_not_by_forces_that_are_not_its_gradient():
    limits = ConservationLimits(replicas=3, time=0.4, timestep=2.0)
    good = conservation(model_of(), iodine(0.05), limits, seed=0)
    assert [gate.passed for gate in good.gates] == [True, True]
    assert good.totals.shape == (len(good.times), 3)
    assert np.abs(good.totals).max() < 1e-3
    bad = conservation(model_of(fault="driven"), iodine(0.05), limits, seed=0)
    assert [gate.passed for gate in bad.gates] == [False, False]


def test_the_drift_is_the_slope_of_the_total_energy_over_the_time():
    """Ten times slower in energy per time, over ten times the time: the same ratio."""
    from jointkd.acceptance.conservation import slope

    times = np.linspace(0, 2, 50)
    noise = np.sin(40 * times)
    np.testing.assert_allclose(slope(times, np.stack([3 * times + 1, 0 * times], 1)), [3, 0], atol=1e-12)
    assert slope(times, (0.5 * times + 0.01 * noise)[:, None])[0] == pytest.approx(0.5, abs=0.01)


def test_a_replica_that_explodes_is_not_measured_and_so_not_passed():
    limits = ConservationLimits(replicas=1, time=100.0, timestep=1e4)
    wild = conservation(model_of(lambda distance: 50 * distance**4), iodine(), limits, seed=0)
    assert [gate.passed for gate in wild.gates] == [False, False]
    assert wild.gates[0].value is None


def test_dimers_that_repel_each_other_pass_and_those_that_fall_into_an_abyss_do_not():
    good = dimers(model_of(), [53], DimerLimits())
    assert good.gate.passed
    (curve,) = good.curves
    assert curve.pair == "I-I"
    assert curve.distances[0] == pytest.approx(0.3 * 2.78)
    assert curve.distances[-1] == pytest.approx(2.0 * 2.78)
    np.testing.assert_allclose(curve.energies, morse(torch.tensor(curve.distances)), atol=1e-9)
    bad = dimers(model_of(collapsing), [53], DimerLimits())
    assert not bad.gate.passed
    assert bad.gate.value == 1
    assert "1 of 1 pairs of elements are not repulsive everywhere below 0.7" in bad.gate.detail
    assert bad.curves[0].falls_below == pytest.approx(0.7 * 2.78, abs=0.02)
    assert dimers(model_of(collapsing), [53], DimerLimits(not_repulsive=1)).gate.passed


def test_energies_that_are_not_finite_are_not_repulsive():
    broken = model_of(lambda distance: torch.where(distance < 1.2, torch.nan, morse(distance)))
    assert dimers(broken, [53], DimerLimits()).curves[0].falls_below == pytest.approx(1.2, abs=0.05)


def test_an_attraction_beyond_the_limit_does_not_count():
    assert dimers(model_of(lambda distance: morse(distance, place=2.0)), [53], DimerLimits()).gate.passed
    assert not dimers(model_of(lambda distance: morse(distance, place=1.9)), [53], DimerLimits()).gate.passed


@pytest.mark.parametrize("structures", [iodine(0.1), [crystal()]], ids=["molecules", "crystal"])
@pytest.mark.parametrize(
    ("fault", "failed"),
    [
        ("", set()),
        ("size", {"extensivity"}),
        ("driven", {"force consistency", "rotation and permutation"}),
        ("direction", {"rotation and permutation"}),
    ],
)
def test_each_inconsistency_fails_the_gate_that_looks_for_it(structures, fault, failed):
    gates = consistency(model_of(fault=fault), structures, ConsistencyLimits(), seed=0)
    assert [gate.name for gate in gates] == ["extensivity", "force consistency", "rotation and permutation"]
    assert {gate.name for gate in gates if not gate.passed} == failed


def test_a_value_at_its_threshold_passes_and_one_that_was_not_measured_never():
    assert at_most("drift", 1.0, 1.0, "", "").passed
    assert not at_most("drift", 1.01, 1.0, "", "").passed
    assert at_least("speed-up", 2.0, 2.0, "times", "").passed
    assert not at_least("speed-up", 1.99, 2.0, "times", "").passed
    for value in (np.nan, np.inf, -np.inf):
        assert not at_most("drift", value, 1.0, "", "").passed
        assert not at_least("speed-up", value, 1.0, "", "").passed
    gate = unmeasured("drift", 1.0, "meV", "no reason")
    assert (gate.passed, gate.value) == (False, None)
    assert str(gate) == "FAILED  drift: not measured (≤ 1 meV); not measured: no reason"


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (
            {"stability": StabilityLimits(temperatures=[])},
            "the number of stability.temperatures=0 must be a positive int",
        ),
        ({"stability": StabilityLimits(temperatures=[-5.0])}, "stability.temperatures=-5.0 must be a positive number"),
        ({"stability": StabilityLimits(replicas=0)}, "stability.replicas=0 must be a positive integer"),
        ({"conservation": ConservationLimits(time=0.0)}, "conservation.time=0.0 must be a positive number"),
        ({"dimers": DimerLimits(not_repulsive=-1)}, "dimers.not_repulsive=-1 must be a number of at least 0"),
        ({"seed": -1}, "seed=-1 must be an integer from 0"),
    ],
)
def test_limits_out_of_range_are_refused(limits, message):
    with pytest.raises(ConfigError) as refused:
        AcceptanceOptions(**limits)
    assert message in str(refused.value)
