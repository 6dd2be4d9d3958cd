"""Structures without reference energy or forces: refused, or completed by the teacher and used for training only."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from ase.data import chemical_symbols

from jointkd.data.alignment import Alignment
from jointkd.data.options import DataOptions
from jointkd.data.prepared import Frames
from jointkd.data.readers import extxyz
from jointkd.errors import DataError
from jointkd.labels.store import LabelStore
from jointkd.structures.columns import elements_of, keys_of, select, with_labels, without_labels
from jointkd.structures.frame import Frame
from jointkd.students.energy_zero import EnergyZero

log = logging.getLogger(__name__)

PARENT = "parent"  # entry of a frame with the key of the structure that it was made from; see `jointkd.sampling`
ADDED = "unlabelled"  # the split of frames of data.unlabelled


def added_frames(options: DataOptions) -> Iterator[Frame]:
    """The frames of data.unlabelled, in Å and without labels. Raises DataError for a file that cannot be read."""
    for path in options.added_files:
        group = getattr(options, "group_key", None)
        frames, _ = extxyz.read(path, None, None, group_key=group, option="data.unlabelled")
        yield from (replace(frame, split=ADDED) for frame in frames)


def are_added(frames: Sequence[Frame]) -> np.ndarray:
    """[M] whether each frame is of data.unlabelled."""
    return np.array([frame.split == ADDED for frame in frames], dtype=bool)


def referenced(frames: Sequence[Frame]) -> np.ndarray:
    """The indices of the frames with a reference label."""
    return np.flatnonzero(np.logical_or(*with_labels(frames)))


def to_be_labelled(options: DataOptions, frames: Mapping[str, Sequence[Frame]]) -> Mapping[str, Sequence[Frame]]:
    """The frames that must have reference labels, by split."""
    if options.missing == "teacher":
        return {split: part for split, part in frames.items() if split != "train"}
    return {**frames, "train": select(frames["train"], ~are_added(frames["train"]))} if options.added_files else frames


def check_labels(name: str, frames: Mapping[str, Sequence[Frame]]) -> None:
    """Raise DataError if structures of a data set, by split, lack reference labels."""
    lacking = np.sum([without_labels(part) for part in frames.values()], axis=0)
    if lacking.any():
        total = sum(map(len, frames.values()))
        raise DataError(
            f"{lacking[0]} of the {total} structures of data={name} have no reference energy, and "
            f"{lacking[1]} no forces; training needs both of each",
            "name them with data.energy_key and data.forces_key, leave out the structures without, take what is "
            "missing from the teacher with data.missing=teacher, or both of all structures with data.reference=teacher "
            "(jointkd.evaluate structures=FILE needs neither)",
        )


def divide(options: DataOptions, frames: Frames) -> dict[str, list[int]]:
    """The indices of the frames of each split; see `Split.indices`.

    Frames of data.unlabelled, and with data.missing=teacher all without both labels, are for training; the others are
    divided as if these were not there. Left out are those that belong to validation or test: by their file, by their
    group if groups stay together, or because the structure that they were made from is there. Raises DataError where
    data.missing=teacher and no frame has both labels.
    """
    split, completing = options.division, options.missing == "teacher"
    if not (completing or options.added_files):
        return split.indices(frames)
    complete = np.logical_and(*with_labels(frames)) if completing else ~are_added(frames)
    if completing and not complete.any():
        raise DataError(
            f"none of the {len(frames)} structures has both a reference energy and forces, for validation and test",
            "name them with data.energy_key and data.forces_key, or learn from the teacher alone with "
            "data.reference=teacher",
        )
    saved, keys = split.saved(), frames.keys()
    divided = np.flatnonzero(complete | np.array([key in saved for key in keys]))
    parts = {name: divided[part].tolist() for name, part in split.indices(frames.at(divided.tolist())).items()}
    others = np.setdiff1d(np.arange(len(frames)), divided).tolist()
    tested = [index for name in ("val", "test") for index in parts[name]]
    parents = {keys[index] for index in tested}
    groups = {frames.source.groups[frames.indices[index]] for index in tested} - {""} if split.by == "group" else set()
    kept = [index for index in others if is_for_training(frames[index], parents, groups)]
    if len(kept) < len(others):
        log.warning(
            "left out %d structures without reference labels, which belong to validation or test",
            len(others) - len(kept),
        )
    return {**parts, "train": sorted(parts["train"] + kept)}


def is_for_training(frame: Frame, parents: set[str], groups: set[str]) -> bool:
    """Whether a frame has nothing to do with validation and test, whose keys and groups are given."""
    return frame.split in (None, "train", ADDED) and frame.info.get(PARENT) not in parents and frame.group not in groups


def with_plausible_forces(frames: Sequence[Frame], store: LabelStore, max_force: float) -> Sequence[Frame]:
    """The frames without those whose forces are the teacher's and have a component above max_force (eV/Å)."""
    given = with_labels(frames)[1].tolist()
    kept = [
        has or bool(np.abs(store.read(key, rows=False).forces).max() <= max_force)
        for key, has in zip(keys_of(frames), given, strict=True)
    ]
    if all(kept):
        return frames
    log.warning("left out %d structures whose teacher's forces exceed data.max_force=%g", kept.count(False), max_force)
    return select(frames, kept)


def completed(frames: Sequence[Frame], shift: Alignment, teacher: str) -> dict[str, int]:
    """How many energies and forces of the training structures are the teacher's, which is logged.

    shift: brings the teacher's energies to the zero of the data. Raises DataError for an element that only structures
    without energy have; a warning counts structures whose compositions those with energies do not determine.
    """
    energies, forces = without_labels(frames)
    log.info(
        "the energies of %d and the forces of %d of the %d training structures are those of %s",
        energies,
        forces,
        len(frames),
        teacher,
    )
    lacking = select(frames, ~with_labels(frames)[0])
    unknown = [z for z in elements_of(lacking) if z not in shift.shift]
    if unknown:
        raise DataError(
            f"{chemical_symbols[unknown[0]]} occurs only in training structures without reference energy, so the "
            "teacher's energies of these cannot be brought to the zero of the data",
            "leave such structures out, or add one with reference labels",
        )
    zero = EnergyZero(shift.directions)
    estimated = sum(not zero.holds_for(frame.numbers) for frame in lacking) if shift.directions else 0
    if estimated:
        log.warning(
            "%d structures without reference energy have compositions that the others do not determine: their "
            "energies are the teacher's up to a constant for each composition",
            estimated,
        )
    return {"energies": energies, "forces": forces}
