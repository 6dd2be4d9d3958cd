"""Precisions, shapes, elements and files of students."""

import tempfile
from pathlib import Path
from typing import cast

import torch
from ase import Atoms

from jointkd.contracts.structures import ACETAMIDE, ETHANOL, SALT, WATER
from jointkd.contracts.students.built import BuiltStudent, Module
from jointkd.students.student_file import SavedStudent, load_student, save_student


class Storage(BuiltStudent):
    """A student is used in several precisions, and kept in files."""

    def test_predictions_have_the_dtype_and_shape_of_what_was_asked(self) -> None:
        """Atomic energies [N], forces [N, 3] and Hessian rows [N, S, 3] have the student's dtype."""
        for dtype in (torch.float32, torch.float64):
            (prediction,) = self.predictions(self.student(dtype), [WATER], 0, 5)
            shapes = [tuple(value.shape) for value in prediction]
            assert shapes == [(3,), (3, 3), (3, 2, 3)], f"shapes of a water molecule's prediction: {shapes}"
            dtypes = {value.dtype for value in prediction}
            assert dtypes == {dtype}, f"dtypes of a prediction in {dtype}: {dtypes}"

    def test_float32_predictions_are_close_to_float64(self) -> None:
        """Predictions in float32 are close to those in float64."""
        many = [ETHANOL, WATER, ACETAMIDE]
        exact, rounded = (self.predictions(self.student(dtype), many) for dtype in (torch.float64, torch.float32))
        for atoms, expected, found in zip(many, exact, rounded, strict=True):
            self.same(found.atomic_energies, expected.atomic_energies, 1e-5, f"energies of {atoms.symbols} in float32")
            self.same(found.forces, expected.forces, 1e-4, f"forces of {atoms.symbols} in float32")

    def test_every_element_up_to_the_highest_is_known(self) -> None:
        """Atoms of the first and of the last element that the student knows have finite energies and forces."""
        student = self.student()
        for number in (1, student.elements):
            (prediction,) = self.predictions(student, [Atoms([number, 1], [[0, 0, 0], [0, 0.6, 1.2]])])
            finite = all(bool(torch.isfinite(value).all()) for value in prediction)
            assert finite, f"the prediction for an atom of atomic number {number} is not finite"

    def test_a_state_dict_holds_all_that_predictions_depend_on(self) -> None:
        """A new instance with the same state_dict has the same predictions."""
        student, other = self.student(), self.student(seed=4)
        other.load_state_dict(student.state_dict())
        self.equal(student, other, "with the same state_dict")

    def test_a_students_file_gives_the_same_student(self) -> None:
        """A student that is saved to a file and loaded again has the same predictions, cutoff and elements."""
        student = self.student()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "student.safetensors"
            save_student(path, SavedStudent(dict(self.config), student.state_dict(), {1: -13.6}, {}))
            module, saved = load_student(path, self.config["_target_"])
        loaded = cast(Module, module.requires_grad_(False))
        assert (saved.config, saved.reference_energies) == (dict(self.config), {1: -13.6}), (
            "the file holds other values"
        )
        for name in ("cutoff", "elements", "max_neighbors", "conservative"):
            before, after = getattr(student, name), getattr(loaded, name)
            assert before == after, f"{name}={before} became {after} in the file"
        self.equal(student, loaded, "from its file")

    def equal(self, student: Module, other: Module, after: str) -> None:
        """Require the same energies and forces of two students."""
        (molecule, crystal), others = (self.predictions(each, [ETHANOL, SALT]) for each in (student, other))
        for expected, found in zip((molecule, crystal), others, strict=True):
            self.same(found.atomic_energies, expected.atomic_energies, 1e-12, f"atomic energies of a student {after}")
            self.same(found.forces, expected.forces, 1e-12, f"forces of a student {after}")
