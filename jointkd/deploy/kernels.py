"""A traced student with the kernels that torch's compiler makes of it: one file for all sizes and one kind of GPU.

AOTInductor's libraries are the counterpart for a CPU; on a GPU torch 2.11 ends the process that loads one. Kernels are
kept as torch's compiled artifact, which is loaded in seconds; for a CPU it would be compiled again when it is loaded.
"""

import tempfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from jointkd.deploy.pair_form import Inputs

ENTRY = "kernels.bin"  # of the archive, in its one folder; torch takes what is below extra/ for text


class KernelForm:
    """The form of a student that was compiled; see `PairForm`."""

    def __init__(self, kernels: Callable[..., Iterable[Tensor]], state: Sequence[Tensor]) -> None:
        self.kernels, self.state = kernels, state

    def __call__(self, vectors: Tensor, source: Tensor, target: Tensor, atomic_numbers: Tensor) -> tuple[Tensor, ...]:
        """See `PairForm`."""
        return tuple(self.kernels(*self.state, vectors, source, target, atomic_numbers))


def write_kernels(program: ExportedProgram, example: Inputs, archive: Path) -> None:
    """Compile a program for all sizes, and write it with its kernels. example: inputs on the device."""
    from torch._inductor import standalone_compile

    torch.export.save(program, archive)
    arguments: list[Any] = [*state_of(program), *example]
    artifact: Any = standalone_compile(program.graph_module, arguments, dynamic_shapes="from_graph")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernels.bin"
        artifact.save(path=str(file), format="binary")
        with zipfile.ZipFile(archive, "a") as zipped:
            zipped.write(file, inside(zipped, ENTRY))


def load_kernels(archive: Path) -> KernelForm:
    """The form in a file of `write_kernels`, whose code then runs."""
    from torch._inductor import CompiledArtifact

    program = torch.export.load(archive)
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(archive) as zipped:
        file = zipped.extract(inside(zipped, ENTRY), folder)
        artifact = CompiledArtifact.load(path=file, format="binary")
    return KernelForm(artifact, state_of(program))


def inside(archive: zipfile.ZipFile, entry: str) -> str:
    """The name of an entry in the one folder of an archive that torch has written."""
    return f"{archive.namelist()[0].partition('/')[0]}/{entry}"


def state_of(program: ExportedProgram) -> list[Tensor]:
    """Weights and constants, in the order in which its graph takes them before the inputs."""
    values: dict[Any, Any] = {**program.state_dict, **program.constants}
    specs = program.graph_signature.input_specs
    return [values[spec.target].detach() for spec in specs if spec.kind is not InputKind.USER_INPUT]
