"""Batches of few different sizes, as compiled code needs them: filled up with atoms on which nothing depends."""

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from jointkd.structures.batch import OF_ATOMS, OF_STRUCTURES, Real, Structure


class Size(NamedTuple):
    """What a padded batch holds, padding included."""

    atoms: int
    pairs: int
    structures: int

    def holds(self, batch: Structure) -> bool:
        """Whether a batch fits, with at least one more structure and one atom for each of the added ones."""
        added = self.structures - batch.num_structures
        pairs = batch.edge_index.shape[1] // 2
        return added > 0 and batch.num_atoms + added <= self.atoms and pairs <= self.pairs


def pad(batch: Structure, size: Size, distance: float) -> Structure:
    """The batch with as many atoms, pairs and structures as `size`, which must hold it; labels are zero there.

    The added pairs join added atoms to images of themselves at `distance` (Å), beyond the student's cutoff.
    """
    atoms, pairs, structures = batch.num_atoms, batch.edge_index.shape[1] // 2, batch.num_structures
    more = Size(size.atoms - atoms, size.pairs - pairs, size.structures - structures)
    fields: dict[str, Any] = {name: appended(getattr(batch, name), more.atoms) for name in OF_ATOMS}
    fields |= {name: appended(getattr(batch, name), more.structures) for name in ("ptr", *OF_STRUCTURES)}
    fields["atomic_numbers"][atoms:] = batch.atomic_numbers[0]
    fields["ptr"][structures + 1 :] = atoms + torch.arange(1, more.structures + 1)
    fields["ptr"][-1] = size.atoms
    fields["batch"] = torch.repeat_interleave(fields["ptr"].diff())
    ends = atoms + torch.arange(more.pairs) % more.atoms
    far = torch.zeros(more.pairs, 3, dtype=batch.edge_shift.dtype)
    far[:, 0] = distance
    there = 2 * pairs + torch.arange(more.pairs)
    return replace(
        batch,
        **fields,
        edge_index=torch.cat([batch.edge_index, ends.repeat(2, 2)], dim=1),
        edge_shift=torch.cat([batch.edge_shift, far, -far]),
        edge_reverse=torch.cat([batch.edge_reverse, there + more.pairs, there]),
        real=Real(atoms, structures),
    )


def appended(values: Tensor | None, count: int) -> Tensor | None:
    """Values [K, …] with so many zeros after them."""
    return None if values is None else torch.cat([values, values.new_zeros(count, *values.shape[1:])])
