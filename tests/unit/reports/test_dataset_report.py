"""The report describes a data set, and names the entries that look like mistakes."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from ase.build import bulk
from matplotlib import pyplot

from jointkd.data.stored_neighbors import computed
from jointkd.reports.dataset import lines, write_report
from jointkd.reports.dataset_findings import analyse
from jointkd.reports.dataset_plots import said_as_text
from jointkd.structures.frame import Frame
from tests.files import frames
from tests.structures import rattled


def numbered(count: int, seed: int = 0) -> list[Frame]:
    """Molecules with forces that sum to zero."""
    return [
        replace(frame, forces=frame.forces - frame.forces.mean(0), source=f"frame {number}")
        for number, frame in enumerate(frames(count, seed))
    ]


def divided(some: list[Frame]) -> dict[str, list[Frame]]:
    return {"train": some[:-6], "val": some[-6:-3], "test": some[-3:]}


def text_of(some: list[Frame]) -> str:
    """The text of the report."""
    return "\n".join(lines(analyse("mine", divided(some), partial(computed, cutoff=4.0, max_neighbors=None), 4.0)))


def test_structures_atoms_elements_and_groups_are_counted():
    text = text_of(numbered(30))
    assert "mine: 30 structures, 140 atoms" in text
    assert "24 train, 3 val, 3 test" in text
    assert "3 to 6, median 5 per structure" in text
    assert "H 71.4 % (in 30), C 14.3 % (in 20), O 14.3 % (in 20)" in text
    assert "3; 100 % of those of val also in train, 100 % of those of test also in train" in text
    assert "nearest atoms     C–H 0." in text
    assert "suspicious        nothing" in text


def test_neighbours_are_right_for_a_known_crystal():
    crystal = bulk("Cu", "fcc", a=3.6, cubic=True)
    frame = Frame(crystal.numbers.astype(int), crystal.positions, crystal.cell.array, crystal.pbc)
    findings = analyse(
        "copper", {"train": [frame], "val": [], "test": []}, partial(computed, cutoff=3.0, max_neighbors=None), 3.0
    )
    assert findings.neighbors.tolist() == [12] * 4
    np.testing.assert_allclose(findings.nearest["Cu–Cu"], 3.6 / np.sqrt(2))


def test_what_the_plot_shows_of_each_structure_is_a_line_of_a_table(tmp_path):
    some = numbered(12)
    write_report("mine", divided(some), partial(computed, cutoff=4.0, max_neighbors=None), 4.0, tmp_path)
    head, *lines = (tmp_path / "report.csv").read_text().splitlines()
    assert head == "split,atoms,relative_energy_eV_per_atom,rms_force_eV_per_A,largest_force_eV_per_A"
    assert len(lines) == 12
    split, atoms, _, rms, largest = lines[0].split(",")
    assert (split, int(atoms)) == ("train", len(some[0]))
    assert float(rms) == pytest.approx(np.sqrt((some[0].forces ** 2).mean()), rel=1e-5)
    assert float(largest) == pytest.approx(np.abs(some[0].forces).max(), rel=1e-5)


def test_data_without_labels_have_a_report(tmp_path):
    some = [Frame(frame.numbers, frame.positions) for frame in numbered(12)]
    write_report("mine", divided(some), partial(computed, cutoff=4.0, max_neighbors=None), 4.0, tmp_path)
    written = (tmp_path / "report.txt").read_text()
    assert "energies          none" in written
    assert "forces            none" in written
    assert "groups            none; data.group_key names the entry" in written
    assert (tmp_path / "report.png").stat().st_size > 10_000


def scaled(some: list[Frame], factor: float) -> list[Frame]:
    return [replace(frame, energy=frame.energy / factor) for frame in some]


def spoilt(some: list[Frame], number: int, **changes) -> list[Frame]:
    return [*some[:number], replace(some[number], **changes), *some[number + 1 :]]


def rotated(frame: Frame) -> Frame:
    return replace(frame, positions=frame.positions[:, [1, 2, 0]], forces=frame.forces[:, [1, 2, 0]], source="the copy")


SOME = numbered(60)


@pytest.mark.parametrize(
    ("some", "line"),
    [
        (scaled(SOME, 27.2114), "energies per element are those of free atoms in hartree: data.units.energy=hartree?"),
        (scaled(SOME, 1 / 23.06), "energies per element are those of free atoms in kcal/mol"),
        ([replace(frame, energy=-7.0) for frame in SOME], "all structures have the same energy, -7.0 eV"),
        (spoilt(SOME, 4, energy=SOME[4].energy + 90), "far from that of all others in 1 structures (frame 4)"),
        (spoilt(SOME, 5, forces=0 * SOME[5].forces), "all forces are zero in 1 structures (frame 5)"),
        (spoilt(SOME, 6, forces=99 * SOME[6].forces), "20 times as large as usual in 1 structures (frame 6)"),
        (spoilt(SOME, 7, forces=SOME[7].forces + 0.1), "forces do not sum to zero in 1 structures (frame 7)"),
        (
            [*SOME, rotated(SOME[0])],
            "1 energies occur more than once for the same formula, 1 of them in more than one split: rotated, "
            "shifted or renumbered copies? (such as frame 0 and the copy)",
        ),
        (spoilt(SOME, 8, positions=SOME[8].positions * 9), "atoms have no neighbour within the cutoff"),
    ],
)
def test_a_likely_mistake_is_named(some, line):
    assert line in text_of(some)


def test_crystals_and_many_elements_are_plotted(tmp_path):
    some = []
    for number in range(40):
        atoms = rattled(bulk("NaCl", "rocksalt", a=5.6), number)
        atoms.numbers[0] = 20 + number
        some.append(Frame(atoms.numbers.astype(int), atoms.positions, atoms.cell.array, atoms.pbc, energy=number * 0.1))
    write_report("salts", divided(some), partial(computed, cutoff=5.0, max_neighbors=None), 5.0, tmp_path)
    assert (tmp_path / "report.png").stat().st_size > 10_000


def without_forces(some: list[Frame]) -> list[Frame]:
    return [replace(frame, forces=None) for frame in some]


def waters(count: int, energies: np.ndarray) -> list[Frame]:
    """Structures of one formula with given energies."""
    return [replace(frame, energy=float(e)) for frame, e in zip(numbered(3 * count)[::3], energies, strict=True)]


def test_equal_energies_that_chance_explains_are_no_copies():
    energies = -2000 + np.random.default_rng(0).normal(scale=3e-4, size=60).round(5)
    assert len(set(energies)) < 60
    assert "occur more than once" not in text_of(without_forces(waters(60, energies)))


def test_equal_energies_with_other_forces_are_no_copies():
    energies = np.random.default_rng(0).normal(-2000, 1.0, size=30)
    energies[10] = energies[20]
    assert "occur more than once" not in text_of(waters(30, energies))
    assert "1 energies occur more than once" in text_of(without_forces(waters(30, energies)))


def test_charges_are_named():
    some = spoilt(SOME, 4, info={"charge": -1})
    assert "a charge is stated, which neither a student nor most teachers take, in 1 structures (frame 4)" in (
        text_of(some)
    )


def test_what_was_set_aside_is_named(tmp_path):
    neighbors = partial(computed, cutoff=4.0, max_neighbors=None)
    write_report("mine", divided(SOME), neighbors, 4.0, tmp_path, {"the energy is not finite": 3})
    assert "set aside:\n    - 3 structures: the energy is not finite" in (tmp_path / "report.txt").read_text()
    write_report("mine", divided(SOME), neighbors, 4.0, tmp_path)
    assert "set aside         nothing" in (tmp_path / "report.txt").read_text()


def test_a_quantity_with_one_value_is_written_instead_of_drawn():
    _, panel = pyplot.subplots()
    assert said_as_text(panel, np.full(5, 21))
    assert [text.get_text() for text in panel.texts] == ["all are 21"]
    assert not said_as_text(panel, np.array([21, 22]))
    pyplot.close("all")
