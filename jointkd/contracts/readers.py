"""The contract of readers: data sets that are the same each time they are read, in eV and Å."""

import json
import pickle
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import ClassVar

import numpy as np
from ase.data import chemical_symbols

from jointkd.contracts.properties import Contract, DoesNotApply
from jointkd.data.options import DataOptions
from jointkd.data.prepared import prepare
from jointkd.data.provenance import origin_of
from jointkd.structures.columns import elements_of
from jointkd.structures.frame import Frame

READ = 1000  # frames of a data set that are read; of a small one, all
BINDING = (-20.0, 5.0)  # eV per atom, of energies relative to free atoms


class ReaderContract(Contract):
    """What must hold for every data set; a subclass sets `options`.

        class TestMine(ReaderContract):
            options = MyData(name="mine", path="mine.npz")

    The first frames of the data set are read. Nothing is written but to a temporary folder.
    """

    options: ClassVar[DataOptions]

    def read(self) -> tuple[list[Frame], dict[int, float], bool]:
        """The first frames, energies of free atoms (eV by atomic number), and whether these are all frames."""
        frames, free_atoms = self.options.reader()()
        first = list(islice(frames, READ + 1))
        return first[:READ], free_atoms, len(first) <= READ

    def frames(self) -> Iterator[tuple[str, Frame]]:
        """The frames that were read, each with its name for messages. Fails where there are none."""
        frames, _, _ = self.read()
        assert frames, "the reader gives no frames"
        for number, each in enumerate(frames):
            yield each.source or f"frame {number}", each

    def test_frames_have_arrays_of_the_documented_shapes_and_dtypes(self) -> None:
        """Atomic numbers [N] are int64, positions [N, 3], cell [3, 3] and forces [N, 3] float64, pbc [3] bool."""
        for name, each in self.frames():
            atoms = len(each)
            expected = {
                "numbers": ((atoms,), np.int64),
                "positions": ((atoms, 3), np.float64),
                "cell": ((3, 3), np.float64),
                "pbc": ((3,), np.bool_),
                "forces": ((atoms, 3), np.float64),
            }
            for field, (shape, dtype) in expected.items():
                array = getattr(each, field)
                if field == "forces" and array is None:
                    continue
                assert isinstance(array, np.ndarray), f"{field} of {name} must be a numpy array"
                assert array.shape == shape, f"{field} of {name} has the shape {array.shape}, expected {shape}"
                assert array.dtype == dtype, f"{field} of {name} is {array.dtype}, expected {np.dtype(dtype)}"
            kind = type(each.energy).__name__
            assert each.energy is None or isinstance(each.energy, float), f"energy of {name} is {kind}, must be float"

    def test_values_are_finite_and_elements_exist(self) -> None:
        """Positions, cells, energies and forces are finite, atomic numbers are those of elements."""
        for name, each in self.frames():
            assert len(each), f"{name} has no atoms"
            for field in ("positions", "cell", "energy", "forces"):
                value = getattr(each, field)
                assert value is None or np.isfinite(value).all(), f"{field} of {name} is not finite"
            known = (each.numbers > 0) & (each.numbers < len(chemical_symbols))
            assert known.all(), f"{name} has the atomic number {each.numbers[~known][0]}"

    def test_periodic_directions_have_lattice_vectors(self) -> None:
        """A structure has linearly independent lattice vectors in its periodic directions."""
        for name, each in self.frames():
            vectors = each.cell[each.pbc]
            rank = np.linalg.matrix_rank(vectors) if len(vectors) else 0
            assert rank == len(vectors), f"{name} is periodic in {len(vectors)} directions, its cell in {rank}"

    def test_all_frames_have_labels_or_none_has(self) -> None:
        """Either all frames have an energy and forces, or none has."""
        for field in ("energy", "forces"):
            having = [getattr(each, field) is not None for _, each in self.frames()]
            assert all(having) or not any(having), f"{sum(having)} of {len(having)} frames have {field}"

    def test_groups_splits_and_sources_are_text(self) -> None:
        """Groups and sources are text, the split is text or None, and `info` holds text and single numbers."""
        for name, each in self.frames():
            for field, value in {"group": each.group, "source": each.source, "split": each.split or ""}.items():
                assert isinstance(value, str), f"{field} of {name} is {type(value).__name__}, must be text"
            for key, value in each.info.items():
                plain = isinstance(value, str | int | float)
                assert plain, f"info[{key!r}] of {name} is {type(value).__name__}, must be text or a number"

    def test_every_frame_names_another_source(self) -> None:
        """Every frame says where it was read, and no two frames the same place."""
        sources = [each.source for _, each in self.frames()]
        repeated = next((source for source in sources if sources.count(source) > 1), None)
        assert repeated is None, f"{sources.count(repeated or '')} frames have the source {repeated!r}"

    def test_two_passes_give_the_same_frames(self) -> None:
        """Reading twice gives the same structures with the same keys and labels in the same order."""
        (one, free_one, _), (two, free_two, _) = self.read(), self.read()
        assert len(one) == len(two), f"{len(one)} frames were read at first, then {len(two)}"
        assert free_one == free_two, "energies of free atoms differ from one pass to the next"
        for number, (first, second) in enumerate(zip(one, two, strict=True)):
            self.equal(second, first, f"frame {number} of the second pass")

    def test_a_prepared_set_gives_the_same_frames(self) -> None:
        """Screening keeps most structures, and those in a prepared set are the frames that were read."""
        frames, free_atoms, _ = self.read()
        by_key = {each.key: each for each in reversed(frames)}  # of exact repeats the first is kept
        with tempfile.TemporaryDirectory() as folder:
            options = self.options
            stored = prepare(Path(folder), options.name, lambda: (frames, free_atoms), None, options.max_force, {})
            kept = [stored[number] for number in range(len(stored))]
            free = stored.free_atom_energies
            for each in kept:
                assert replace(each).key == each.key, f"the key of {each.source} is another one in a prepared set"
                assert each.key in by_key, f"{each.source} is another structure in a prepared set"
                self.equal(each, by_key[each.key], f"{each.source} in a prepared set")
        assert free == free_atoms, "energies of free atoms are others in a prepared set"

    def test_energies_of_free_atoms_cover_all_elements(self) -> None:
        """Energies of free atoms, where there are any, are finite and cover all elements of the structures."""
        frames, free_atoms, complete = self.read()
        if self.options.reference_energies is not None:
            raise DoesNotApply("data.reference_energies takes the place of free atoms")
        if not free_atoms:
            raise DoesNotApply("the data have no free atoms")
        if not complete:
            raise DoesNotApply(f"there are more than {READ} frames, and free atoms may come after them")
        assert np.isfinite(list(free_atoms.values())).all(), "an energy of a free atom is not finite"
        missing = [chemical_symbols[z] for z in elements_of(frames) if z not in free_atoms]
        assert not missing, f"there is no free atom of {', '.join(missing)}, so that none would be used"

    def test_energies_relative_to_free_atoms_are_those_of_bonds(self) -> None:
        """Energies less those of free atoms are binding energies in eV."""
        frames, free_atoms, _ = self.read()
        covered = [each for each in frames if each.energy is not None and {*each.numbers.tolist()} <= {*free_atoms}]
        if not covered:
            raise DoesNotApply("no structure has an energy and free atoms of all its elements")
        for each in covered:
            assert each.energy is not None
            energy = (each.energy - sum(free_atoms[z] for z in each.numbers.tolist())) / len(each)
            plausible = BINDING[0] < energy < BINDING[1]
            assert plausible, f"{each.source} is bound by {energy:.3g} eV per atom, expected {BINDING}: check the unit"

    def test_the_origin_is_plain_and_found_again(self) -> None:
        """The origin, by which a prepared set is found again, is JSON, has names only, and is the same each time."""
        origin = self.origin(self.options)
        assert self.origin(self.options) == origin, "the origin is another one the second time"
        text = json.dumps(origin, sort_keys=True)
        assert json.loads(text) == origin, "the origin is another one after a way through JSON"
        for marker in ("<lambda>", "<locals>", " at 0x"):
            assert marker not in text, f"the origin has {marker!r}: reader() must give a function of a module"

    def test_options_may_be_sent_to_another_process(self) -> None:
        """The options are a frozen dataclass, and their origin is the same after a way through pickle."""
        again = pickle.loads(pickle.dumps(self.options))
        assert self.origin(again) == self.origin(self.options), "the origin is another one after pickle"
        try:
            again.name = again.name
        except AttributeError:
            return
        raise AssertionError(f"{type(again).__name__} can be changed: it must be a frozen dataclass")

    @staticmethod
    def origin(options: DataOptions) -> dict[str, object]:
        """What decides the content of the data set."""
        return origin_of(options.reader(), options.rules, options.max_force)

    def equal(self, found: Frame, expected: Frame, what: str) -> None:
        """Require the same structure with the same labels and texts."""
        assert found.key == expected.key, f"{what} is another structure"
        for field in ("energy", "group", "split", "source"):
            before, after = getattr(expected, field), getattr(found, field)
            assert after == before, f"{field} of {what} is {after!r}, was {before!r}"
        assert dict(found.info) == dict(expected.info), f"info of {what} is another one"
        none = (found.forces is None, expected.forces is None)
        assert none in ((True, True), (False, False)), f"forces of {what} are lost"
        if found.forces is not None and expected.forces is not None:
            self.same(found.forces, expected.forces, 0.0, f"forces of {what}")
