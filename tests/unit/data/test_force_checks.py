"""Forces of another sign or unit than the energies are refused where close conformations show it."""

from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk

from jointkd.data.force_checks import check_forces, energy_slope
from jointkd.errors import DataError
from jointkd.structures.frame import Frame
from tests.files import STIFFNESS, springs


def crystal(count: int = 12) -> list[Frame]:
    """Copper with atoms on springs to their sites, wrapped across the boundary."""
    rng = np.random.default_rng(0)
    atoms = bulk("Cu", cubic=True)
    some = []
    for _ in range(count):
        moved = rng.normal(scale=0.05, size=(4, 3))
        moved -= moved.mean(0)
        positions = (atoms.positions + moved) % 3.61
        energy = -14.0 + STIFFNESS * (moved**2).sum() / 2
        some.append(
            Frame(atoms.numbers.astype(int), positions, atoms.cell.array, atoms.pbc, float(energy), -STIFFNESS * moved)
        )
    return some


@pytest.mark.parametrize("some", [springs(), crystal()], ids=["molecule", "crystal"])
def test_right_forces_have_a_slope_of_one(some):
    assert energy_slope(some) == pytest.approx(1.0, abs=0.15)
    check_forces(some)


@pytest.mark.parametrize("some", [springs(), crystal()], ids=["molecule", "crystal"])
@pytest.mark.parametrize(
    ("factor", "cause"),
    [
        (-1.0, "gradients given as forces"),
        (1 / 51.4221, "forces in hartree/bohr beside energies in eV"),
        (23.0605, "forces in kcal/mol/angstrom beside energies in eV"),
        (27.2114, "energies in hartree beside forces in eV/Å"),
        (-1 / 51.4221, "gradients given as forces, forces in hartree/bohr beside energies in eV"),
    ],
)
def test_forces_of_another_sign_or_unit_are_refused(some, factor, cause):
    wrong = [replace(frame, forces=frame.forces * factor) for frame in some]
    with pytest.raises(DataError, match=rf"times what the forces say, as for {cause}; check data.energy_key"):
        check_forces(wrong)


def test_energies_per_atom_are_refused():
    wrong = [replace(frame, energy=frame.energy / 3) for frame in springs()]
    with pytest.raises(DataError, match=r"as for energies per atom instead of total ones"):
        check_forces(wrong)


def test_another_ratio_is_only_a_warning(caplog):
    check_forces([replace(frame, forces=frame.forces / 5) for frame in springs()])
    assert "do the forces belong to these energies" in caplog.text


@pytest.mark.parametrize(
    "some",
    [
        [],
        springs(3),
        [replace(frame, energy=None) for frame in springs()],
        [replace(frame, forces=None) for frame in springs()],
        [replace(frame, forces=np.zeros((3, 3))) for frame in springs()],
        [replace(frame, energy=-7.0) for frame in springs()],
        [replace(frame, energy=float(number**2 % 7)) for number, frame in enumerate(springs())],
        [replace(frame, numbers=np.array([number + 1, 1, 1])) for number, frame in enumerate(springs())],
        springs(displacement=1.0),
    ],
    ids=["none", "few", "no energies", "no forces", "zero forces", "one energy", "noise", "molecules", "far apart"],
)
def test_nothing_is_said_where_the_slope_is_not_determined(some, caplog):
    assert energy_slope(some) is None
    check_forces(some)
    assert not caplog.records
