"""Students as models of torch-sim."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.fd import calculate_numerical_stress
from ase.io import write

from jointkd.deploy.ase import JointKD
from jointkd.deploy.loaded import load
from jointkd.errors import ConfigError, DataError, MissingExtra
from jointkd.students.student_file import read_student, save_student
from tests.structures import ETHANOL, PEROVSKITE, TRICLINIC
from tests.uncertain import uncertainty_of, with_uncertainty
from tests.unit.deploy.test_ase import CONSERVATIVE, FREE, PAINN, student_file

METALS = {z: -10.0 * z for z in (1, 6, 12, 14, 26)}  # of torch-sim's own checks, and hydrocarbons
EXAMPLE = Path(__file__).parents[3] / "examples" / "torch_sim_md.py"
OF_ATOMS = ("forces", "energies", "force_uncertainty")
CELL = 3.9 * np.eye(3) + 0.1 * np.array(TRICLINIC)


def test_without_torch_sim_one_line_says_what_to_install(tmp_path, monkeypatch):
    student_file(tmp_path, PAINN)
    monkeypatch.setitem(sys.modules, "torch_sim.models.interface", None)
    monkeypatch.delitem(sys.modules, "jointkd.deploy.torchsim", raising=False)
    with pytest.raises(MissingExtra, match=r"torch-sim is not installed; pip install 'jointkd\[torchsim\]', with Py"):
        load(tmp_path).torch_sim()


class TestWithTorchSim:
    """Where torch-sim is installed, which needs Python 3.12."""

    @pytest.fixture(autouse=True)
    def torch_sim(self):
        self.ts = pytest.importorskip("torch_sim")

    def state(self, *atoms: Atoms):
        return self.ts.io.atoms_to_state([each.copy() for each in atoms], torch.device("cpu"), torch.float64)

    @pytest.mark.parametrize("config", [*CONSERVATIVE, PAINN], ids=["painn", "gemnet", "force head"])
    def test_a_student_keeps_what_torch_sim_asks_of_a_model(self, tmp_path, config):
        from torch_sim.models.interface import validate_model_outputs

        student_file(tmp_path, config, METALS)
        model = load(tmp_path).torch_sim()
        validate_model_outputs(model, model.device, model.dtype)
        assert model.compute_stress == config.get("conservative", False)

    @pytest.mark.parametrize("config", [*CONSERVATIVE, PAINN], ids=["painn", "gemnet", "force head"])
    @pytest.mark.parametrize("kind", ["molecule", "crystal", "one atom", "cell of one atom"])
    def test_results_are_those_of_the_ase_calculator(self, tmp_path, config, kind):
        from torch_sim.testing import assert_model_calculator_consistency

        crystal = Atoms("SrTiO3", scaled_positions=PEROVSKITE, cell=CELL, pbc=True)
        crystal.rattle(0.1, seed=1)
        atoms = {
            "crystal": crystal,
            "molecule": ETHANOL,
            "one atom": Atoms("H"),
            "cell of one atom": bulk("Na", "sc", 3.5),
        }
        file = with_uncertainty(student_file(tmp_path, config))
        model = load(tmp_path).torch_sim(dtype="float64")
        found = model(self.state(atoms[kind]))["force_uncertainty"].numpy()
        np.testing.assert_allclose(found, uncertainty_of(file, atoms[kind]), rtol=1e-6)
        if not atoms[kind].pbc.all():
            model.compute_stress = False  # ASE's calculator has none there
        assert_model_calculator_consistency(
            model, JointKD(tmp_path, dtype="float64"), self.state(atoms[kind]), 1e-12, 1e-8, 1e-8, 1e-8, 1e-8, 1e-10
        )

    @pytest.mark.parametrize("periodic", [False, True], ids=["molecules", "crystals"])
    def test_each_system_of_a_batch_has_the_results_that_it_has_alone(self, tmp_path, periodic):
        with_uncertainty(student_file(tmp_path, CONSERVATIVE[0]))
        model = load(tmp_path).torch_sim(dtype="float64")
        systems = [
            bulk("NaCl", "rocksalt", a=5.6),
            bulk("Na", "sc", a=3.5),
            bulk("NaCl", "rocksalt", a=5.4, cubic=True),
        ]
        if not periodic:
            systems = [ETHANOL, Atoms("H"), molecule("CH4")]
        together, first = model(self.state(*systems)), 0
        for number, atoms in enumerate(systems):
            alone, own = model(self.state(atoms)), slice(first, first + len(atoms))
            for name, expected in alone.items():
                found = together[name][own if name in OF_ATOMS else [number]]
                torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-10, equal_nan=True)
            assert together["energies"][own].sum() == pytest.approx(float(together["energy"][number]), abs=1e-9)
            first += len(atoms)
        assert periodic or together["energy"][1] == FREE[1]

    def test_stress_equals_finite_differences_and_is_not_a_number_for_a_molecule(self, tmp_path):
        student_file(tmp_path, CONSERVATIVE[0])
        crystal = Atoms("SrTiO3", scaled_positions=PEROVSKITE, cell=CELL, pbc=True)
        crystal.rattle(0.1, seed=1)
        model = load(tmp_path).torch_sim(dtype="float64")
        results = model(self.state(crystal))
        crystal.calc = JointKD(tmp_path, dtype="float64")
        numerical = calculate_numerical_stress(crystal, 1e-4, voigt=False)
        np.testing.assert_allclose(results["stress"][0], numerical, atol=1e-5 * np.abs(numerical).max())
        assert model(self.state(ETHANOL))["stress"].isnan().all()

    def test_a_student_in_float32_is_as_accurate_far_from_the_origin_and_has_all_digits_of_the_energy(self, tmp_path):
        student_file(tmp_path, CONSERVATIVE[0])
        exact, single = (load(tmp_path).torch_sim(dtype=dtype) for dtype in ("float64", "float32"))
        expected = exact(self.state(ETHANOL))
        assert abs(float(expected["energy"])) > 4000
        for shift in (0.0, 1000.0):
            atoms = ETHANOL.copy()
            atoms.positions += shift
            found = single(self.state(atoms))
            size = float(expected["forces"].abs().max())
            torch.testing.assert_close(found["forces"], expected["forces"], rtol=0, atol=1e-5 * max(1, size))
            torch.testing.assert_close(found["energy"], expected["energy"], rtol=0, atol=1e-4)

    def test_dynamics_of_a_batch_conserve_the_energy_of_each_system(self, tmp_path):
        student_file(tmp_path, CONSERVATIVE[0])
        model, ts = load(tmp_path).torch_sim(dtype="float64"), self.ts
        systems = self.state(ETHANOL, molecule("H2O"), molecule("CH4"))
        totals = []
        for steps in (1, 60):
            end = ts.integrate(
                systems, model, integrator=ts.Integrator.nve, n_steps=steps, temperature=300, timestep=2e-4, seed=1
            )
            kinetic = ts.calc_kinetic_energy(masses=end.masses, momenta=end.momenta, system_idx=end.system_idx)
            totals.append(end.energy + kinetic)
        assert (kinetic > 0.02).all()
        assert ((totals[1] - totals[0]).abs() < 0.01 * kinetic).all()

    @pytest.mark.parametrize("autobatched", [False, True])
    def test_langevin_dynamics_and_relaxations_run(self, tmp_path, autobatched):
        student_file(tmp_path, CONSERVATIVE[0])
        model, ts = load(tmp_path).torch_sim(), self.ts
        batcher = {"autobatcher": ts.BinningAutoBatcher(model=model, max_memory_scaler=1000)} if autobatched else {}
        systems = self.state(ETHANOL, molecule("H2O"), molecule("CH4"))
        hot = ts.integrate(
            systems, model, integrator=ts.Integrator.nvt_langevin, n_steps=5, temperature=300, timestep=5e-4, **batcher
        )
        assert torch.isfinite(hot.positions).all()
        assert (hot.positions != systems.positions).any(1).all()
        batcher = {"autobatcher": ts.InFlightAutoBatcher(model=model, max_memory_scaler=1000)} if autobatched else {}
        relaxed = ts.optimize(
            systems, model, optimizer=ts.Optimizer.fire, max_steps=20, steps_between_swaps=5, **batcher
        )
        assert (relaxed.energy < model(systems)["energy"]).all()

    def test_the_cell_follows_the_stress(self, tmp_path):
        student_file(tmp_path, CONSERVATIVE[0])
        model, ts = load(tmp_path).torch_sim(), self.ts
        salt = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
        salt.rattle(0.05, seed=1)
        systems = self.state(salt, bulk("NaCl", "rocksalt", a=5.4, cubic=True))
        moved = ts.integrate(
            systems,
            model,
            integrator=ts.Integrator.npt_langevin_isotropic,
            n_steps=5,
            temperature=300,
            timestep=1e-3,
            external_pressure=0.0,
        )
        assert torch.isfinite(moved.positions).all()
        assert (moved.cell != systems.cell).flatten(1).any(1).all()
        relaxed = ts.optimize(
            systems,
            model,
            optimizer=ts.Optimizer.fire,
            max_steps=20,
            init_kwargs={"cell_filter": ts.CellFilter.frechet},
        )
        assert (relaxed.energy < model(systems)["energy"]).all()
        assert (relaxed.cell != systems.cell).flatten(1).any(1).all()

    def test_elements_of_no_training_and_positions_that_are_not_finite_are_refused(self, tmp_path):
        student_file(tmp_path, PAINN, {1: -13.0, 6: -1030.0})
        model = load(tmp_path).torch_sim()
        with pytest.raises(DataError, match="the student was not trained on O; give structures of H C only"):
            model(self.state(molecule("CH4"), ETHANOL))
        lost = molecule("CH4")
        lost.positions[0] = np.inf
        with pytest.raises(DataError, match="positions of atoms are not finite"):
            model(self.state(lost))

    def test_a_composition_that_training_did_not_determine_is_named_once(self, tmp_path, caplog):
        file = student_file(tmp_path, PAINN)
        save_student(file, read_student(file)._replace(undetermined=({1: 1.0},)))
        model = load(tmp_path).torch_sim()
        for _ in range(2):
            model(self.state(ETHANOL, molecule("CH4"), molecule("CH4")))
        assert sorted(record.message.split(":")[0] for record in caplog.records) == ["C2H6O", "CH4"]

    def test_a_student_whose_neighbours_are_capped_is_refused(self, tmp_path):
        student_file(tmp_path, {**PAINN, "max_neighbors": 20})
        with pytest.raises(ConfigError, match="has max_neighbors=20, which neighbour lists of torch-sim do not know"):
            load(tmp_path).torch_sim()

    def test_the_example_relaxes_and_moves_the_structures_of_a_file(self, tmp_path, monkeypatch, capsys):
        student_file(tmp_path, CONSERVATIVE[0])
        write(tmp_path / "molecules.xyz", [ETHANOL, molecule("CH4")])
        monkeypatch.chdir(tmp_path)
        runpy.run_path(str(EXAMPLE))["main"](str(tmp_path), "molecules.xyz", 50)
        assert all((tmp_path / f"trajectory-{number}.h5").stat().st_size > 0 for number in range(2))
        assert "K after 25 fs" in capsys.readouterr().out
