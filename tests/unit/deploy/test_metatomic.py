"""Students as models of metatomic."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from jointkd.deploy import parity
from jointkd.deploy.ase import JointKD
from jointkd.deploy.export import export
from jointkd.errors import ConfigError, MissingExtra
from tests.structures import ETHANOL, PEROVSKITE, TRICLINIC
from tests.unit.deploy.test_ase import CONSERVATIVE, PAINN, student_file

CRYSTAL = Atoms("SrTiO3", scaled_positions=PEROVSKITE, cell=3.9 * np.eye(3) + 0.1 * np.array(TRICLINIC), pbc=True)
SYSTEMS = {
    "molecule": ETHANOL,
    "crystal": CRYSTAL,
    "one atom": Atoms("H"),
    "no edges": Atoms("H2", [[0, 0, 0], [50, 0, 0]]),
    "a cell of one atom": bulk("Na", "sc", a=3.5),
    "a large crystal": bulk("NaCl", "rocksalt", a=5.6, cubic=True) * 2,
}


def test_without_metatomic_one_line_says_what_to_install_and_nothing_is_written(tmp_path, monkeypatch):
    student_file(tmp_path, CONSERVATIVE[0])
    monkeypatch.setitem(sys.modules, "metatomic.torch", None)
    monkeypatch.delitem(sys.modules, "jointkd.deploy.metatomic", raising=False)
    with pytest.raises(MissingExtra, match=r"metatomic-torch is not installed; pip install 'jointkd\[metatomic\]'"):
        export(str(tmp_path), "metatomic")
    assert [file.name for file in tmp_path.iterdir()] == ["student.safetensors"]


class TestWithMetatomic:
    """Where metatomic-torch is installed."""

    @pytest.fixture(autouse=True)
    def metatomic(self):
        pytest.importorskip("metatomic.torch")

    @pytest.fixture(scope="class", params=CONSERVATIVE, ids=["painn", "gemnet"])
    def exported(self, request, tmp_path_factory) -> Path:
        """A model of metatomic beside its student's file."""
        pytest.importorskip("metatomic.torch")
        folder = tmp_path_factory.mktemp("metatomic")
        student_file(folder, request.param)
        return export(str(folder), "metatomic", dtype="float64")

    @pytest.mark.parametrize("kind", SYSTEMS)
    def test_energies_forces_and_stress_are_those_of_the_ase_calculator(self, exported, kind):
        from metatomic_ase import MetatomicCalculator

        theirs, ours = SYSTEMS[kind].copy(), SYSTEMS[kind].copy()
        theirs.rattle(0.05, seed=1)
        ours.positions = theirs.positions
        theirs.calc = MetatomicCalculator(exported, device="cpu", check_consistency=True)
        ours.calc = JointKD(exported.parent, dtype="float64")
        assert theirs.get_potential_energy() == pytest.approx(ours.get_potential_energy(), abs=1e-8)
        np.testing.assert_allclose(theirs.get_potential_energies(), ours.get_potential_energies(), atol=1e-8)
        np.testing.assert_allclose(theirs.get_forces(), ours.get_forces(), atol=1e-8)
        if ours.pbc.all():
            np.testing.assert_allclose(theirs.get_stress(), ours.get_stress(), atol=1e-10)

    def test_several_systems_and_chosen_atoms_have_the_energies_that_they_have_alone(self, exported):
        from metatensor.torch import Labels
        from metatomic.torch import ModelOutput
        from metatomic_ase import MetatomicCalculator

        calculator, ours = MetatomicCalculator(exported, device="cpu"), JointKD(exported.parent, dtype="float64")
        systems = [ETHANOL, ETHANOL[:3]]
        expected = [ours.get_property("energies", atoms) for atoms in systems]

        def block(kind, chosen=None):
            selected = None if chosen is None else Labels(["system", "atom"], torch.tensor(chosen, dtype=torch.int32))
            outputs = {"energy": ModelOutput(unit="eV", sample_kind=kind)}
            return calculator.run_model(systems, outputs, selected)["energy"].block()

        totals = block("system")
        assert totals.samples.values.tolist() == [[0], [1]]
        np.testing.assert_allclose(totals.values[:, 0].detach(), [each.sum() for each in expected], atol=1e-8)
        some = block("atom", [[0, 2], [1, 0]])
        assert some.samples.values.tolist() == [[0, 2], [1, 0]]
        np.testing.assert_allclose(some.values[:, 0].detach(), [expected[0][2], expected[1][0]], atol=1e-8)
        of_some = block("system", [[0, 2], [1, 0]])
        np.testing.assert_allclose(of_some.values[:, 0].detach(), [expected[0][2], expected[1][0]], atol=1e-8)

    def test_the_receptive_field_the_elements_and_the_units_are_recorded(self, exported):
        from metatomic.torch import load_atomistic_model

        capabilities = load_atomistic_model(exported).capabilities()
        student = JointKD(exported.parent).student
        assert capabilities.interaction_range == student.hops * 4.0
        assert capabilities.atomic_types == [1, 6, 8, 11, 17, 22, 38]
        assert (capabilities.length_unit, capabilities.outputs["energy"].unit) == ("angstrom", "eV")
        assert (capabilities.dtype, capabilities.supported_devices) == ("float64", ["cpu"])

    def test_a_student_in_float32_has_all_digits_of_the_energy(self, tmp_path):
        from metatomic_ase import MetatomicCalculator

        student_file(tmp_path, CONSERVATIVE[0])
        theirs, ours = ETHANOL.copy(), ETHANOL.copy()
        theirs.calc = MetatomicCalculator(export(str(tmp_path), "metatomic"), device="cpu")
        ours.calc = JointKD(tmp_path, dtype="float64")
        assert abs(ours.get_potential_energy()) > 4000
        assert theirs.get_potential_energy() == pytest.approx(ours.get_potential_energy(), abs=1e-4)

    @pytest.mark.parametrize(
        ("config", "words"),
        [
            (PAINN, "to=metatomic needs forces that are the energy's gradient"),
            ({**CONSERVATIVE[0], "max_neighbors": 20}, "to=metatomic cannot cap neighbours"),
        ],
    )
    def test_what_metatomic_cannot_do_faithfully_is_refused(self, tmp_path, config, words):
        student_file(tmp_path, config)
        with pytest.raises(ConfigError, match=words):
            export(str(tmp_path), "metatomic")
        assert [file.name for file in tmp_path.iterdir()] == ["student.safetensors"]

    def test_a_model_that_differs_from_its_student_is_not_written(self, tmp_path, monkeypatch):
        student_file(tmp_path, CONSERVATIVE[0])
        monkeypatch.setattr(parity, "deviation", lambda *_: float("nan"))
        with pytest.raises(ConfigError, match="the exported student differs by nan"):
            export(str(tmp_path), "metatomic")
        assert [file.name for file in tmp_path.iterdir()] == ["student.safetensors"]
