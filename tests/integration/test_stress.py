"""`weights.stress` with `data.stress_key`: stresses are learned, and refused where they cannot be."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read

from jointkd import evaluate, load
from tests.files import molecules, saved

ORDER = ["xx", "yy", "zz", "yz", "xz", "xy"]
OPTIONS = (
    *("data=extxyz", "data.path=cu.xyz", "data.split.by=frame", "data.prepared=null", "teacher=none", "method=none"),
    *(
        "student.conservative=true",
        "student.repulsion=true",
        "student.width=8",
        "student.layers=1",
        "student.radial=6",
        "student.cutoff=4",
    ),
    *("data.stress_key=stress", "data.stress.positive=tension", "data.stress.order=[xx,yy,zz,yz,xz,xy]"),
    *("trainer.max_epochs=30", "optimizer.lr=0.01", "schedule=cosine", "weights.energy=1", "weights.forces=1"),
    "hydra.run.dir=run",
)


@pytest.fixture
def copper(tmp_path: Path) -> Path:
    """Strained and rattled copper with the energies, forces and stresses of ASE's EMT."""
    rng, frames = np.random.default_rng(0), []
    for seed in range(24):
        atoms = bulk("Cu", a=3.6, cubic=True)
        atoms.rattle(0.05, seed=seed)
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(0, 0.03, (3, 3))), scale_atoms=True)
        atoms.calc = EMT()
        results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces(), "stress": atoms.get_stress()}
        atoms.calc = SinglePointCalculator(atoms, **results)
        frames.append(atoms)
    return saved(tmp_path / "cu.xyz", frames)


@pytest.mark.slow
def test_a_stress_that_is_learned_is_better_than_one_that_is_not(command, copper):
    errors = {}
    for weight in (0, 100):
        result = command("train", *OPTIONS, f"weights.stress={weight}", "overwrite=true")
        assert result.status == 0, result.err
        assert ("stresses are tested and not learned" in result.out + result.err) == (weight == 0)
        assert re.search(r"the repulsion acts at distances below, in Å: Cu–Cu \d\.\d\d", result.out + result.err)
        summary = json.loads((copper.parent / "run" / "summary.json").read_text())
        errors[weight] = summary["test"]["stress_mae_meV_per_A3"]
    assert errors[100] < 0.8 * errors[0]
    atoms = bulk("Cu", a=3.5, cubic=True)
    atoms.calc = load(copper.parent / "run").ase()
    compressed = atoms.get_stress()
    atoms.calc = EMT()
    assert np.sign(compressed[0]) == np.sign(atoms.get_stress()[0]) == -1


def test_a_student_is_evaluated_on_the_stresses_of_any_file(command, copper):
    assert command("train", *OPTIONS, "weights.stress=100").status == 0
    alone = read(copper, 0)
    alone.calc = None
    mixed = [
        *read(copper, ":5"),
        alone,
        molecule("H2O"),
    ]  # without a stress; of elements that the student does not know
    saved(copper.parent / "some.xyz", mixed)
    stress = [option for option in OPTIONS if option.startswith("data.stress")]
    command("evaluate", "run=run", "structures=some.xyz", "output=pred.xyz", *stress)
    found = evaluate(
        copper.parent / "run",
        structures=str(copper.parent / "some.xyz"),
        options={"data.stress_key": "stress", "data.stress.positive": "tension", "data.stress.order": ORDER},
    )
    assert found.counts["structures_with_stress"] == 5
    assert found.counts["structures"] == 6
    calculator, errors = load(copper.parent / "run").ase(), []
    for atoms in mixed[:5]:
        label = atoms.get_stress(voigt=False)
        atoms.calc = calculator
        errors.append(1e3 * (atoms.get_stress(voigt=False) - label))
    assert found.metrics["stress_mae_meV_per_A3"] == pytest.approx(np.abs(errors).mean(), rel=1e-3)
    assert found.metrics["stress_rmse_meV_per_A3"] == pytest.approx(np.sqrt(np.square(errors).mean()), rel=1e-3)
    predicted = read(copper.parent / "pred.xyz", 0).info
    difference = np.reshape(predicted["jointkd_stress"], (3, 3)) - np.reshape(predicted["reference_stress"], (3, 3))
    np.testing.assert_allclose(1e3 * difference, errors[0], atol=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("data.stress_key=null", "weights.stress=1"), "have no stress; name it with data.stress_key"),
        (("student.conservative=false", "weights.stress=1"), "a student with a force head has no stress"),
        (("data.stress.positive=null",), "data.stress.positive=null does not say what data.stress_key=stress holds"),
        (("data.stress_key=virial",), "has no stress under data.stress_key=virial (it has energy"),
        (("data.stress_key=null", "data.stress.kind=virial"), "data.stress.kind=virial is not used"),
    ],
)
def test_stresses_that_are_not_there_are_one_line(command, copper, options, message):
    given = {option.partition("=")[0] for option in options}
    kept = [option for option in OPTIONS if option.partition("=")[0] not in {*given, "trainer.max_epochs"}]
    if "student.conservative=false" in options:
        kept.remove("student.repulsion=true")
    if "data.stress_key=null" in options and "data.stress.kind=virial" not in options:
        kept = [option for option in kept if not option.startswith("data.stress.")]
    result = command("train", *kept, *options, "trainer.max_epochs=1")
    text = result.out + result.err
    assert message in text
    assert result.status != 0 or "is not used" in message


def test_a_molecule_among_crystals_is_refused(command, copper):
    saved(copper.parent / "mixed.xyz", molecules(2))
    options = [option for option in OPTIONS if not option.startswith("data.path")]
    keys = ("data.energy_key=REF_energy", "data.forces_key=REF_forces")
    result = command("train", *options, "data.path=mixed.xyz", *keys)
    assert result.status != 0
    assert "mixed.xyz frame 0 is not periodic along three vectors and has no stress" in result.out + result.err
