"""Reference energies."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms

from jointkd.data.composition_fit import fit_compositions
from jointkd.data.datamodule import DistillationData
from jointkd.data.free_atoms import ALL_ELECTRONS, TABLES
from jointkd.data.options import ReaderData
from jointkd.data.references import References, least_squares
from jointkd.data.splits import Split
from jointkd.errors import ConfigError, DataError
from jointkd.structures.frame import Frame
from tests.files import FREE, frames


def sums(energies: dict[int, float], frame: Frame) -> float:
    return sum(energies[int(z)] for z in frame.numbers)


def additive(count: int, energies: dict[int, float]) -> list[Frame]:
    return [replace(frame, energy=sums(energies, frame)) for frame in frames(count)]


def test_least_squares_recovers_the_energies_of_the_elements():
    references = least_squares(additive(9, FREE))
    assert references.energies == pytest.approx(FREE, abs=1e-6)
    assert "least squares" in references.origin


def formula(symbols: str, energy: float) -> Frame:
    atoms = Atoms(symbols)
    return Frame(atoms.numbers.astype(np.int64), np.zeros((len(atoms), 3)), energy=energy)


def bound(symbols: str, free: dict[int, float], binding: float = -4.0) -> Frame:
    """A molecule whose atoms are bound by so many eV each."""
    frame = formula(symbols, 0.0)
    return replace(frame, energy=sums(free, frame) + binding * len(frame))


@pytest.mark.parametrize(
    ("isolated", "origin"), [({}, "the free atoms of density functional theory"), (FREE, "isolated atoms of the data")]
)
def test_one_composition_keeps_to_free_atoms_so_that_other_molecules_are_estimated_well(isolated, origin):
    acetylacetone, methane = bound("C5H8O2", FREE), bound("CH4", FREE)
    references = least_squares([acetylacetone, acetylacetone], isolated)
    assert references.of(acetylacetone.numbers).sum() == pytest.approx(acetylacetone.energy, abs=1e-6)
    assert abs(references.of(methane.numbers).sum() - methane.energy) < 8.0 * len(methane)  # by lstsq alone: 990 eV
    assert origin in references.origin
    assert "1 independent compositions do not determine H, C, O" in references.origin
    assert len(references.undetermined) == 2
    assert all(
        abs(sum(direction[int(z)] for z in acetylacetone.numbers)) < 1e-9 for direction in references.undetermined
    )


def test_what_compositions_determine_does_not_depend_on_a_prior():
    some = [bound(symbols, FREE) for symbols in ("C5H8O2", "C5H8O2", "CH4", "H2O")]
    fitted = least_squares(some, FREE)
    assert fitted.energies == pytest.approx(least_squares(some).energies, abs=1e-9)
    assert fitted.undetermined == ()
    assert fitted.origin == "least squares on the training split"


def test_compositions_that_differ_by_less_than_the_noise_do_not_determine_references():
    rng = np.random.default_rng(0)
    alkane, radical = bound("C30H62", FREE), bound("C30H61", FREE)
    some = [replace(alkane, energy=alkane.energy + noise) for noise in rng.normal(scale=8.0, size=20)]
    some.append(replace(radical, energy=radical.energy + 30.0))
    assert least_squares(some).energies[1] == pytest.approx(ALL_ELECTRONS[1], abs=6.0)


def test_elements_without_known_free_atoms_share_the_energy_of_their_composition():
    references = least_squares([formula("Li2Si", -12.0)])
    assert references.energies == pytest.approx({3: -4.0, 14: -4.0})
    assert "mean energy per atom" in references.origin


def test_the_free_atoms_of_the_teacher_serve_where_no_others_fit():
    references = least_squares([formula("Li2Si", -12.0)], None, {3: -0.3, 14: -0.9})
    assert references.energies == pytest.approx({3: -0.3 - 10.5 * 2 / 5, 14: -0.9 - 10.5 / 5})  # along Li2Si
    assert "free atoms of the teacher" in references.origin


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_the_energies_of_free_atoms_are_those_of_bound_electrons(table):
    assert table[1] == pytest.approx(-13.6, abs=3.0)
    assert all(table[z] < 3 * table[1] for z in table if z > 1)
    assert table[8] < table[7] < table[6]


def test_larger_cells_of_the_same_crystals_determine_energies_as_well():
    counts, prior = np.array([[1.0, 2.0], [1.0, 1.0]]), {1: -13.0, 8: -2040.0}
    fits = [
        fit_compositions(size * counts, size * np.array([-4100.0, -2060.0]), [1, 8], prior, 5.0) for size in (1, 16)
    ]
    assert fits[0].errors[1] > 0
    assert fits[1].errors == pytest.approx(fits[0].errors)
    assert fits[1].energies == pytest.approx(fits[0].energies) == {1: -20.0, 8: -2040.0}


def test_the_errors_of_fitted_references_are_those_of_repeated_fits():
    rng = np.random.default_rng(0)
    base = [bound(symbols, FREE) for symbols in ("CH4", "H2O", "C2H6O", "C3H8", "CO2", "H2O2") for _ in range(5)]
    fits = []
    for _ in range(200):
        noisy = [replace(frame, energy=frame.energy + rng.normal(scale=0.5)) for frame in base]
        fits.append(least_squares(noisy))
    for z in FREE:
        spread = np.std([fit.energies[z] for fit in fits])
        assert np.mean([fit.errors[z] for fit in fits]) == pytest.approx(spread, rel=0.25)


def test_reference_energies_in_another_unit_are_refused():
    energies = {"H": -0.5, "C": -37.8, "O": -75.0}  # hartree
    with pytest.raises(DataError, match=r"relative to the reference energies .data.reference_energies. the energy of"):
        references_of(data(additive(30, FREE), energies=energies))


def data(some: list[Frame], isolated: dict[int, float] | None = None, energies=None) -> DistillationData:
    return DistillationData(
        ReaderData(name="some", read=lambda: (some, isolated or {}), split=Split(), reference_energies=energies)
    )


def references_of(module: DistillationData) -> References:
    module.prepare_neighbors(5.0, torch.float32)
    module.fit_references()
    return module.references


def test_isolated_atoms_of_the_file_are_preferred_to_a_fit():
    free = {z: energy + 1 for z, energy in FREE.items()}
    references = references_of(data(additive(30, FREE), free))
    assert references.energies == free
    assert references.origin == "isolated atoms of the data"


def test_references_are_fitted_on_request_or_if_an_isolated_atom_is_missing():
    for isolated, chosen in ((FREE, "fit"), ({1: -13.0, 6: -1030.0}, None)):
        references = references_of(data(additive(30, FREE), isolated, chosen))
        assert references.origin == "least squares on the training split"


def test_energies_in_the_options_override_all_others():
    energies = {"H": -14, "C": -1031.0, "O": -2041.0}
    references = references_of(data(additive(30, FREE), FREE, energies))
    assert references.energies == {1: -14.0, 6: -1031.0, 8: -2041.0}


@pytest.mark.parametrize(
    ("energies", "error", "message"),
    [
        ({"H": -1.0, "C": -2.0}, DataError, "no reference energy for atomic number 8 .data.reference_energies."),
        (
            {"H": -1.0, "Qq": -2.0},
            ConfigError,
            "has Qq: -2.0, which must be an energy by chemical symbol; give eV",
        ),
        ({"H": "low"}, ConfigError, "data.reference_energies has H: low, which must be an energy"),
        ("lowest", ConfigError, "data.reference_energies=lowest must be fit or energies by element; give fit"),
    ],
)
def test_invalid_references_are_refused(energies, error, message):
    with pytest.raises(error, match=message):
        references_of(data(additive(30, FREE), energies=energies))


def test_an_element_that_only_the_test_split_has_is_refused_before_training():
    module = data(additive(30, FREE))
    odd = module.frames["test"][0]
    module.frames["test"] = [replace(odd, numbers=np.full(len(odd), 7))]
    with pytest.raises(DataError, match=r"atomic number 7"):
        references_of(module)


@pytest.mark.parametrize("missing", ["energy", "forces"])
def test_structures_without_labels_are_refused(missing):
    some = [replace(frame, **{missing: None}) for frame in frames(30)]
    lacking = (
        "30 of the 30 .* no reference energy, and 0" if missing == "energy" else "0 of the 30 .*, and 30 no forces"
    )
    with pytest.raises(DataError, match=rf"{lacking}.*; name them with .* data.reference=teacher"):
        references_of(data(some))
