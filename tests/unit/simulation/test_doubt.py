"""A committee that looks at structures: how far its forces are apart, and what that ends."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.io import read

from jointkd.errors import ConfigError, DataError
from jointkd.simulation.doubt import Doubt, checksum, doubt_of
from jointkd.simulation.dynamics import Simulation, integrator
from jointkd.simulation.lifetimes import Watch, rows_of
from jointkd.simulation.outputs import SimulationFolder
from jointkd.simulation.replicas import Integration, ReplicaDynamics
from jointkd.simulation.stability import UNCERTAIN, Stability
from tests.unit.acceptance.toys import model_of, morse
from tests.unit.simulation.test_dynamics import Push, options_of
from tests.unit.simulation.test_lifetimes import watched


def wider(distance):
    """Another student: the same near the bond, and more so the longer it is."""
    return morse(distance) + 0.05 * (distance - 2.67).clamp(min=0) ** 2


def apart(length: float) -> float:
    """eV/Å: from their mean, the distance of the forces of both students on an atom of a bond of this length (Å)."""
    return 0.05 * (length - 2.67)


def iodine(length: float) -> Atoms:
    return Atoms("I2", [[0, 0, 0], [0, 0, length]])


def test_the_uncertainty_of_an_atom_is_how_far_the_forces_are_from_their_mean():
    doubt = Doubt([model_of(morse), model_of(wider)])
    lengths = (2.67, 3.0, 3.4)
    for length, uncertainty in zip(lengths, doubt.uncertainties([iodine(each) for each in lengths]), strict=True):
        np.testing.assert_allclose(uncertainty, apart(length), atol=1e-7)


def test_it_is_of_the_structures_that_are_left():
    doubt = Doubt([model_of(morse), model_of(wider)])
    structures = [Atoms("I3", [[0, 0, 0], [0, 0, 2.8], [0, 0, 5.6]]), iodine(3.0), iodine(3.4)]
    doubt.uncertainties(structures)
    left = doubt.uncertainties(structures[1:])
    np.testing.assert_allclose(left, [[apart(3.0)] * 2, [apart(3.4)] * 2], atol=1e-7)


def test_a_student_without_a_number_is_no_reason_for_trust():
    def lost(distance):
        return morse(distance) * torch.where(distance < 3.0, 1.0, torch.nan)

    doubt = Doubt([model_of(morse), model_of(lost)], 0.5)
    near, far = iodine(2.67), iodine(3.2)
    found = doubt.uncertainties([near, far])
    assert doubt.events(near, found[0]) == []
    assert [event.kind for event in doubt.events(far, found[1])] == [UNCERTAIN]


def test_what_is_lost_has_no_uncertainty_and_does_not_disturb_the_others():
    doubt, lost = Doubt([model_of(morse), model_of(wider)], 0.001), iodine(3.0)
    structures = [lost, iodine(3.0)]
    doubt.uncertainties(structures)
    lost.positions[1, 2] = np.nan
    first, second = doubt.uncertainties(structures)
    assert np.isnan(first).all()
    assert doubt.events(lost, first) == []
    np.testing.assert_allclose(second, apart(3.0), atol=1e-7)


def test_elements_that_a_member_does_not_know_are_refused():
    with pytest.raises(DataError, match="was not trained on Br"):
        Doubt([model_of(morse), model_of(wider)]).uncertainties([Atoms("Br2", [[0, 0, 0], [0, 0, 2.3]])])


def test_a_simulation_ends_where_the_students_differ_by_more_than_they_may(tmp_path):
    atoms = iodine(2.67)
    atoms.calc = Push(np.outer([-1, 1], [0, 0, 0.5]))
    options = options_of(ensemble="nve", steps=400, interval=1)
    doubt = Doubt([model_of(morse), model_of(wider)], apart(3.0))
    with SimulationFolder(str(tmp_path / "results")) as folder:
        dynamics, stability = integrator(atoms, options, np.random.default_rng(0)), Stability(atoms, 0.5, 0.6, {})
        simulation = Simulation(dynamics, atoms, stability, folder, options, doubt)
        simulation.run()
    assert simulation.summary()["stable"] is True
    (event,) = simulation.summary()["events"]
    assert event["kind"] == UNCERTAIN
    assert event["description"] == f"the students' forces on I0 are {apart(3.0):.2f} eV/Å from their mean"
    frames = read(tmp_path / "results" / "trajectory.xyz", index=":")
    assert frames[-2].get_distance(0, 1) <= 3.0 < frames[-1].get_distance(0, 1)
    log = np.genfromtxt(tmp_path / "results" / "log.csv", delimiter=",", names=True)
    for line, each in zip(log, frames, strict=True):
        np.testing.assert_allclose(each.arrays["force_uncertainty"], apart(each.get_distance(0, 1)), atol=1e-6)
        assert line["force_uncertainty_eV_per_A"] == pytest.approx(each.arrays["force_uncertainty"].max(), abs=1e-6)


@pytest.mark.parametrize(("limit", "ended"), [(apart(2.75), True), (None, False)])
def test_a_replica_ends_where_the_students_differ_and_was_stable_until_then(limit, ended):
    moving, still = watched(0.05, 0.0)
    doubt = Doubt([model_of(morse), model_of(wider)], limit)
    dynamics = ReplicaDynamics(model_of(morse), [moving.replica, still.replica], Integration("nve", 2.0))
    Watch(dynamics, [moving, still], 5, "broken", doubt=doubt).run(100)
    assert still.alive
    assert moving.alive is not ended
    for each, row in zip((moving, still), rows_of("joint", [moving, still], "broken"), strict=True):
        assert len(each.uncertainties) == len(each.times)
        assert row.largest_uncertainty_eV_per_A == max(each.uncertainties)
        assert (row.event == UNCERTAIN) == (not each.alive)
        assert row.stable
        assert row.stable_ps == row.bonds_kept_ps == each.times[-1]
    assert max(moving.uncertainties) > apart(2.75) > max(still.uncertainties)


def test_where_nothing_is_to_end_it_uncertain_forces_do_not_make_it_unstable():
    (moving,) = watched(0.05)
    dynamics = ReplicaDynamics(model_of(morse), [moving.replica], Integration("nve", 2.0))
    doubt = Doubt([model_of(morse), model_of(wider)], apart(2.75))
    Watch(dynamics, [moving], 5, "never", doubt=doubt).run(100)
    assert UNCERTAIN in {event.kind for event in moving.events}
    (row,) = rows_of("joint", [moving], "never")
    assert row.stable
    assert row.stable_ps == row.bonds_kept_ps == pytest.approx(0.2)


def test_a_student_is_not_its_own_committee(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "student.safetensors").write_bytes(b"one")
    (tmp_path / "copy.safetensors").write_bytes(b"one")
    (tmp_path / "other.safetensors").write_bytes(b"other")
    model, other = (SimpleNamespace() for _ in range(2))
    committee: Any = {checksum(str(tmp_path / "copy.safetensors")): SimpleNamespace()}
    with pytest.raises(ConfigError, match="the committee has no student beside run="):
        doubt_of(str(run), model, committee, None)
    committee[checksum(str(tmp_path / "other.safetensors"))] = other
    assert doubt_of(str(run), model, committee, 0.1).members == [model, other]
    assert doubt_of(str(run), model, {}, None) is None


def alone() -> Any:
    """A student that says itself how uncertain its forces are: by how far the bond of an atom is from 2.67 Å."""
    model: Any = model_of(morse)
    plain = model.form

    def form(vectors, source, target, numbers):
        lengths = vectors.norm(dim=1)
        own = vectors.new_zeros(len(numbers)).index_add(0, source, lengths).index_add(0, target, lengths)
        return plain(vectors, source, target, numbers)._replace(force_uncertainty=(own - 2.67).abs())

    return replace(model, form=form, gives_uncertainty=True)


def test_one_student_is_as_uncertain_as_its_file_says():
    doubt = doubt_of("run", alone(), {}, 0.5)
    lengths = (2.67, 3.0, 3.4)
    structures = [iodine(each) for each in lengths]
    found = doubt.uncertainties(structures)
    for length, uncertainty in zip(lengths, found, strict=True):
        np.testing.assert_allclose(uncertainty, length - 2.67, atol=1e-6)
    assert [len(doubt.events(*each)) for each in zip(structures, found, strict=True)] == [0, 0, 1]
    (event,) = doubt.events(structures[2], found[2])
    assert event.description == "the force on I0, which is far from the training, is uncertain by 0.73 eV/Å"


def test_a_student_that_does_not_say_so_cannot_end_a_simulation():
    with pytest.raises(ConfigError, match=r"uncertainty=0\.5: run=old does not say how uncertain its forces are"):
        doubt_of("old", model_of(morse), {}, 0.5)
    assert doubt_of("old", model_of(morse), {}, None) is None
    assert doubt_of("new", alone(), {}, None) is None
