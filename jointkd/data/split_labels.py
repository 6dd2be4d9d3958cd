"""What a label store has for the structures of a split."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace

from jointkd.errors import LabelMismatch
from jointkd.labels.store import LabelStore
from jointkd.structures.columns import keys_of, numbers_of, select
from jointkd.structures.frame import Frame

log = logging.getLogger(__name__)


def labelled(name: str, split: str, frames: Sequence[Frame], store: LabelStore) -> Sequence[Frame]:
    """The frames of a split that the teacher could label. name: of the data set, for messages.

    Raises LabelMismatch where labels have not been made.
    """
    usable = frames
    if store.failed:
        usable = select(frames, (key not in store.failed for key in keys_of(frames)))
    if len(usable) < len(frames):
        log.warning("%d structures of %s have no usable labels", len(frames) - len(usable), split)
    if not usable:
        raise LabelMismatch(
            f"{store.teacher.name} could label no structure of the {split} split of data={name} "
            f"({next(iter(store.failed.values()))})",
            "check the structures, or choose another teacher",
        )
    missing = sum(key not in store for key in keys_of(usable))
    if missing:
        raise LabelMismatch(
            f"{missing} of {len(usable)} structures of the {split} split of data={name} have no labels from "
            f"{store.teacher.name} in {store.path}",
            "make them by running python -m jointkd.label with the same options"
            + (" and label.validation=true" if split == "val" else ""),
        )
    return usable


def check_directions(store: LabelStore, train: Sequence[Frame], rows: int, test: Sequence[Frame]) -> None:
    """Raise LabelMismatch where training frames have fewer Hessian rows or probes than `rows`, or test ones probes."""
    sizes = numbers_of(train)[1].tolist()
    if any(store.direction_count(key) < min(rows, 3 * n) for key, n in zip(keys_of(train), sizes, strict=True)):
        raise LabelMismatch(
            f"training needs {rows} Hessian rows or probes per structure, but {store.path} has fewer",
            "set label.rows or label.probes to at least hessian.rows",
        )
    if any(map(store.probe_count, keys_of(test))):
        raise LabelMismatch(
            f"test structures have probes in place of Hessian rows in {store.path}", "give another label.path"
        )


def adopted(frame: Frame, store: LabelStore) -> Frame:
    """A frame with the teacher's energy and forces as its reference."""
    labels = store.read(frame.key, rows=False)
    return replace(frame, energy=labels.energy, forces=labels.forces.astype(float)).with_key(frame.key)


def tested_rows(rows: int | str, store: LabelStore, keys: Iterable[str]) -> int:
    """The number of Hessian rows per structure in a test; `all` is that of the structure with the most."""
    return max(map(store.row_count, keys)) if rows == "all" else int(rows)
