"""A subset keeps the structures that its rules admit, counts the others, and lists the values if none is left."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from omegaconf import OmegaConf

from jointkd.data.readers.mptrj import read as read_mptrj
from jointkd.data.subsets import Subset, compare_size
from jointkd.errors import ConfigError, DataError
from jointkd.structures.frame import Frame
from tests.files import frames as molecules
from tests.mptrj import write


def of_types(*names):
    return [
        replace(frame, info={"config_type": name}) for frame, name in zip(molecules(len(names)), names, strict=True)
    ]


def crystal(atoms: Atoms, group: str = "", energy: float | None = None) -> Frame:
    return Frame(atoms.numbers, atoms.positions, atoms.cell.array, np.array(atoms.pbc), energy, group=group)


def perovskite(shift=0.0):
    """SrTiO3 with titanium displaced by `shift` Å: cubic Pm-3m at 0, else tetragonal P4mm."""
    scaled = [[0, 0, 0], [0.5, 0.5, 0.5 + shift / 3.9], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    return Atoms("SrTiO3", scaled_positions=scaled, cell=3.9 * np.eye(3), pbc=True)


def test_without_rules_all_structures_are_kept():
    frames = molecules(5)
    assert list(Subset()(frames)) == frames


@pytest.mark.parametrize(
    "name", ["Solvated Amino Acids", "solvated_amino_acids", "solvated-amino-acid", "SOLVATED  AMINO  ACIDS"]
)
def test_a_config_type_matches_in_any_spelling(name):
    frames = of_types("Solvated Amino Acids", "Dipeptides", "SPICE Solvated Amino Acids Single Points Dataset v1.1")
    assert list(Subset(config_type=name)(frames)) == [frames[0], frames[2]]


def test_a_config_type_matches_whole_words_only():
    frames = of_types("PubChem Set 1", "PubChem Set 10", "Pub")
    assert list(Subset(config_type="pubchem set 1")(frames)) == frames[:1]


def test_several_config_types_may_be_given():
    frames = of_types("water", "Dipeptides", "QMugs")
    assert list(Subset(config_type=["water", "qmug"])(frames)) == [frames[0], frames[2]]


def test_a_config_type_that_matches_nothing_is_refused_with_the_values_of_the_data():
    frames = [*of_types("water", "water", "Dipeptides"), *molecules(1)]
    with pytest.raises(DataError) as caught:
        list(Subset(config_type="Iodine")(frames))
    message = str(caught.value)
    assert "data.subset.config_type=Iodine matches none of 4 structures" in message
    assert "the values in the data are water (2), Dipeptides (1), no config_type (1)" in message


def test_structures_with_an_element_are_kept():
    frames = molecules(6)  # water, methanol and methane in turn
    assert list(Subset(contains_element="O")(frames)) == [frames[i] for i in (0, 1, 3, 4)]
    assert list(Subset(contains_element=["C", "Br"])(frames)) == [frames[i] for i in (1, 2, 4, 5)]


def test_an_element_that_does_not_occur_is_refused_with_those_that_do():
    with pytest.raises(DataError, match=r"contains_element=Br matches none of 2 structures; .* are .*O \(2\)"):
        list(Subset(contains_element="Br")(molecules(2)))


def test_an_unknown_chemical_symbol_is_refused_before_reading():
    with pytest.raises(ConfigError, match=r"data.subset.contains_element=bromine must be a chemical symbol"):
        Subset(contains_element="bromine")(iter(()))


def test_small_structures_are_left_out():
    assert [len(frame) for frame in Subset(min_atoms=5)(molecules(3))] == [6, 5]


@pytest.mark.parametrize("group", [221, "221", "Pm-3m"])
def test_a_space_group_is_a_number_or_a_symbol(group):
    cubic = crystal(perovskite())
    others = [crystal(bulk("MgO", "rocksalt", a=4.2)), crystal(perovskite(0.5)), *molecules(1)]
    assert list(Subset(space_group=group)([cubic, *others])) == [cubic]


def test_symmetry_is_found_within_a_tenth_of_an_angstrom():
    frames = [crystal(perovskite(shift)) for shift in (0.02, 0.3)]
    assert list(Subset(space_group="Pm-3m")(frames)) == frames[:1]


@pytest.mark.parametrize(("group", "hint"), [("Pm3m", "did you mean "), (231, "give 1 to 230"), ("nonsense", "give")])
def test_an_unknown_space_group_is_refused(group, hint):
    with pytest.raises(ConfigError, match=rf"data.subset.space_group={group} is not known; .*{hint}"):
        Subset(space_group=group)(iter(()))


def test_the_frame_with_the_lowest_energy_decides_for_its_material():
    relaxing = [crystal(perovskite(shift), "mp-1", energy) for shift, energy in ((0.5, -1), (0.0, -2), (0.4, -1.5))]
    leaving = [crystal(perovskite(shift), "mp-2", energy) for shift, energy in ((0.0, -1), (0.5, -2))]
    assert list(Subset(space_group=221)([*relaxing, *leaving])) == relaxing


def test_frames_without_a_group_are_tested_one_by_one():
    frames = [crystal(perovskite(shift), "", energy) for shift, energy in ((0.5, -1), (0.0, -2))]
    assert list(Subset(space_group=221)(frames)) == frames[1:]


@pytest.mark.parametrize(
    ("bounds", "kept"), [([5, None], {"mp-2", "mp-5"}), ([None, 1], {"mp-3", "mp-4"}), ([1, 6], {"mp-1", "mp-2"})]
)
def test_a_band_gap_may_be_open_at_either_end(tmp_path, bounds, kept):
    frames, _ = read_mptrj(write(tmp_path / "a.json"))
    assert {frame.group for frame in Subset(band_gap=bounds)(frames)} == kept


@pytest.mark.parametrize(("bounds", "kept"), [([1.8, 5], {"mp-1"}), ([5, 5.6], {"mp-2"}), ([0.2, 0.2], {"mp-3"})])
def test_a_range_of_band_gaps_includes_its_ends(tmp_path, bounds, kept):
    frames, _ = read_mptrj(write(tmp_path / "a.json"))
    assert {frame.group for frame in Subset(band_gap=bounds)(frames)} == kept


@pytest.mark.parametrize("bounds", [5, "5", [1, 2, 3]])
def test_a_band_gap_that_is_not_a_range_is_refused(bounds):
    with pytest.raises(ConfigError, match=r"data.subset.band_gap=.* must be a range"):
        Subset(band_gap=bounds)(iter(()))


def test_structures_of_unknown_band_gap_are_left_out_and_counted():
    with pytest.raises(DataError, match=r"matches none of 2 structures; the values in the data are no bandgap \(2\)"):
        list(Subset(band_gap=[0, 1])(molecules(2)))


def test_rules_combine_and_each_logs_the_structures_that_it_left_out(tmp_path, caplog):
    frames, _ = read_mptrj(write(tmp_path / "a.json"))
    with caplog.at_level("INFO"):
        kept = list(Subset(band_gap=[5, None], min_atoms=2)(frames))
    assert {frame.group for frame in kept} == {"mp-2"}
    assert "data.subset.min_atoms=2 keeps 9 structures and leaves out 6: 1 atoms (6)" in caplog.text
    assert "data.subset.band_gap=[5, None] keeps 3 structures and leaves out 6: 2 eV (3), 0 eV (3)" in caplog.text


def test_frames_are_tested_as_they_are_read():
    def endless():
        while True:
            yield from molecules(3)

    kept = Subset(contains_element="O", min_atoms=4)(endless())
    assert len(next(kept)) == 6


def test_lists_of_a_configuration_are_accepted():
    config = OmegaConf.create({"elements": ["C", "N"], "gap": [None, 1]})
    assert len(list(Subset(contains_element=config.elements)(molecules(3)))) == 2
    with pytest.raises(DataError, match="no bandgap"):
        list(Subset(band_gap=config.gap)(molecules(2)))


@pytest.mark.parametrize(("count", "level"), [(805, "INFO"), (820, "INFO"), (822, "WARNING"), (780, "WARNING")])
def test_a_size_that_differs_by_more_than_two_percent_gives_a_warning(caplog, count, level):
    with caplog.at_level("INFO"):
        compare_size("solvated_aa", count, 805)
    (record,) = caplog.records
    assert record.levelname == level
    assert f"data solvated_aa: {count} structures, expected 805" in record.message


def test_a_size_without_an_expected_one_is_only_logged(caplog):
    with caplog.at_level("INFO"):
        compare_size("mine", 36150, None)
    assert caplog.messages == ["data mine: 36,150 structures"]
