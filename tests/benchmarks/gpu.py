"""What a GPU makes of training and of simulations: parity with the CPU, times, memory. JSON, and a table.

    make gpu-check SPICE=PATH/solvated-amino-acids.hdf5 STUDENT=RUN
    python -m tests.benchmarks.gpu PATH/solvated-amino-acids.hdf5 [--student FILE] [--cases painn,4,1 …]

Training steps are those of the paper's students on 4 and 32 solvated amino acids of SPICE (geometries in nanometres, no
energies; targets are random numbers) without and with one Hessian row per structure, float32 without TF32: prediction,
loss, gradients, clipping and AdamW, compiled and as they come. All cases compile at the same time, in processes of
their own, and are timed one after the other once all are compiled. With --student also MD steps of that student, on
lattices of random elements with 0.1 atoms per Å³, of its file and of a package that is exported from it, of replicas in
one call, and 1,000 steps of NVE on the GPU and on the CPU. Where mace-torch is installed also the labelling of two MACE
models. It needs torch, ase, vesin and h5py beside a GPU.
"""

import argparse
import fcntl
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms, units
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS

from jointkd.deploy.ase import JointKD
from jointkd.deploy.export import export
from jointkd.deploy.model import load_model
from jointkd.deploy.replicas import ReplicaCalculator, joined
from jointkd.structures.batch import Structure, collate
from jointkd.structures.padding import Size, pad
from jointkd.students.derivatives import predict
from jointkd.students.gemnet import GemNet
from jointkd.students.operations import plain_graph
from jointkd.students.painn import PaiNN
from jointkd.training.compiled_step import CompiledStep
from jointkd.training.loss import AtomicEnergy, Energy, Forces, Hessian
from jointkd.training.weighted_sum import weighted_sum
from tests.benchmarks import labelling as labelling_benchmark
from tests.benchmarks.solvated import structures

STUDENTS: dict[str, Callable[..., Any]] = {
    "painn": PaiNN,
    "gemnet_dt": GemNet,
    "gemnet_t": partial(GemNet, conservative=True),
}
CASES = [(name, molecules, rows) for name in STUDENTS for molecules in (4, 32) for rows in (0, 1)]
REFERENCE = {  # ms of a step of fairchem-core 1.10 as in the paper, and of ours before steps were compiled (H200)
    ("painn", 4, 0): (22.8, 35.0), ("painn", 4, 1): (67.5, 141),
    ("painn", 32, 0): (37.8, 49), ("painn", 32, 1): (135, 179),
    ("gemnet_dt", 4, 0): (51, 79), ("gemnet_dt", 4, 1): (136, 252),
    ("gemnet_dt", 32, 0): (88, 85), ("gemnet_dt", 32, 1): (272, 356),
    ("gemnet_t", 4, 0): (None, 273), ("gemnet_t", 4, 1): (None, 525),
    ("gemnet_t", 32, 0): (None, 486), ("gemnet_t", 32, 1): (None, 683),
}  # fmt: skip
TIMED = 20
PARITY_STEPS = 50


class Step:
    """A training step of one student on one batch."""

    def __init__(self, student: Any, structures: list[Structure], rows: int, dtype: torch.dtype, device: str) -> None:
        self.student = student.to(device, dtype)
        self.terms: dict[str, Any] = {"energy": Energy(5, "mae"), "forces": Forces(100, "l2")}
        if rows:
            self.terms |= {"atomic_energy": AtomicEnergy(20, "mae"), "hessian": Hessian(400, "l2", rows)}
        batch = collate(structures, dtype)
        size = Size(batch.num_atoms + 8, batch.edge_index.shape[1] // 2 + 64, batch.num_structures + 1)
        padded = pad(batch, size, 2 * student.cutoff)
        self.padded = replace(padded, graph=plain_graph(student.graph_of, padded)).to(device)
        self.batch = replace(batch, graph=student.graph_of(batch)).to(device)
        self.rows = rows
        self.compiled = CompiledStep(self.student, self.terms, self.loss)
        parameters = [parameter for parameter in self.student.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(parameters, lr=1e-4, amsgrad=True, eps=1e-7, weight_decay=2e-6)
        self.parameters = parameters

    def loss(self, batch: Structure) -> Any:
        """Operation by operation."""
        prediction = predict(self.student, batch, batch.row_ids if self.rows else None)
        return weighted_sum(self.terms, {name: term(prediction, batch) for name, term in self.terms.items()}, batch)

    def __call__(self, compiled: bool) -> torch.Tensor:
        loss, _ = self.compiled(self.padded) if compiled else self.loss(self.batch)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 10.0)
        self.optimizer.step()
        return loss.detach()


@contextmanager
def alone() -> Iterator[None]:
    """While the block runs, no other case uses the GPU."""
    with open(Path(tempfile.gettempdir()) / "jointkd-gpu.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def wait_for_others() -> None:
    """Until all cases are compiled, or it is late."""
    folder = Path(os.environ["JOINTKD_GPU_READY"])
    (folder / str(os.getpid())).touch()
    while len(list(folder.iterdir())) < int(os.environ["JOINTKD_GPU_CASES"]):
        if time.time() > float(os.environ["JOINTKD_GPU_LATE"]):
            return
        time.sleep(0.2)


def milliseconds(work: Callable[[], object], times: int = TIMED) -> float:
    """The median, after three calls."""
    taken = []
    for turn in range(times + 3):
        torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        if turn >= 3:
            taken.append(1e3 * (time.perf_counter() - start))
    return round(statistics.median(taken), 2)


def case(path: Path, name: str, molecules: int, rows: int) -> dict[str, Any]:
    """Time and memory of one case."""
    torch.manual_seed(0)
    student = STUDENTS[name]()
    step = Step(student, structures(path, student.cutoff, molecules, rows), rows, torch.float32, "cuda")
    result: dict[str, Any] = {"student": name, "molecules": molecules, "rows": rows}
    result["atoms"], result["pairs"] = step.batch.num_atoms, step.batch.edge_index.shape[1] // 2
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    started = time.perf_counter()
    step(compiled=True)
    result["compiling_s"] = round(time.perf_counter() - started, 1)
    result["compiled"] = not step.compiled.failed
    result["peak_mb"] = round((torch.cuda.max_memory_allocated() - before) / 1e6)
    wait_for_others()
    with alone():
        result["ms"] = milliseconds(lambda: step(compiled=True))
        result["kernels"], result["busy_ms"] = kernels_of(lambda: step(compiled=True))
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        result["eager_ms"] = milliseconds(lambda: step(compiled=False), 5)
        result["eager_peak_mb"] = round((torch.cuda.max_memory_allocated() - before) / 1e6)
    reference, earlier = REFERENCE[name, molecules, rows]
    return result | {"reference_ms": reference, "earlier_ms": earlier}


def kernels_of(work: Callable[[], object]) -> tuple[int, float]:
    """How many kernels a call runs on the GPU, and their time in ms."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        work()
        torch.cuda.synchronize()
    events = [event for event in profile.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    return len(events), round(sum(event.device_time for event in events) / 1e3, 2)


def parity(path: Path, name: str) -> dict[str, Any]:
    """Gradients in float64 against those of the CPU, and loss curves in float32 compiled and not."""
    result: dict[str, Any] = {"student": name, "parity": True}
    sizes = {"width": 16} | ({"layers": 2, "radial": 8, "cutoff": 5.0} if name == "painn" else {"blocks": 1})
    made = {}
    for kind, dtype, device in (("gpu", torch.float64, "cuda"), ("cpu", torch.float64, "cpu")):
        torch.manual_seed(0)
        student = STUDENTS[name](**sizes)
        step = Step(student, structures(path, student.cutoff, 2, 1), 1, dtype, device)
        loss, _ = step.compiled(step.padded) if kind == "gpu" else step.loss(step.batch)
        loss.backward()
        made[kind] = torch.cat(
            [parameter.grad.flatten().cpu() for parameter in step.parameters if parameter.grad is not None]
        )
        result[f"{kind}_loss"] = float(loss.detach())
        if kind == "gpu":
            result["compiled"] = not step.compiled.failed
    result["gradient_error"] = float((made["gpu"] - made["cpu"]).norm() / made["cpu"].norm())
    curves = []
    for compiled in (True, False):
        torch.manual_seed(0)
        student = STUDENTS[name](**sizes)
        step = Step(student, structures(path, student.cutoff, 4, 1), 1, torch.float32, "cuda")
        curves.append(torch.stack([step(compiled) for _ in range(PARITY_STEPS)]).cpu())
    result["curve_error"] = float(((curves[0] - curves[1]).abs() / curves[1]).max())
    return result


def lattice(side: int) -> Atoms:
    """A cubic lattice of H, C, N and O with random displacements, from 729 atoms on periodic."""
    rng, spacing = np.random.default_rng(0), 2.15
    positions = spacing * np.array(list(np.ndindex(side, side, side)), dtype=float)
    positions += rng.normal(scale=0.1, size=positions.shape)
    return Atoms(rng.choice([1, 1, 6, 7, 8], side**3), positions, cell=[side * spacing] * 3, pbc=side > 3)


def dynamics(path: Path) -> Iterator[dict[str, Any]]:
    """MD steps of a student's file through the calculator, of replicas in one call, and the energy they keep."""
    yield from md_steps("file", path, path)
    yield from replicas(path)
    yield {"nve_eV_per_atom": nve(path)}


def exported_dynamics(path: Path) -> Iterator[dict[str, Any]]:
    """MD steps of a package that is exported here."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        package = export(str(path), "kernels", str(Path(folder) / "student.pt2"), "cuda")
        yield {"export_s": round(time.perf_counter() - started, 1)}
        yield from md_steps("package", package, path)


def md_steps(form: str, file: Path, student: Path) -> Iterator[dict[str, Any]]:
    """Steps of lattices, and their forces against the student's on a CPU in float64."""
    calculator = JointKD(file, device="cuda", trust=form == "package")
    for side in (3, 9, 15, 21):
        atoms = lattice(side)
        atoms.calc = calculator
        forces = atoms.get_forces()
        with alone():
            verlet = VelocityVerlet(atoms, 0.2 * units.fs)
            searches = calculator.force_field.evaluator.searches
            taken = milliseconds(lambda verlet=verlet: verlet.run(1), 60)
        searched = calculator.force_field.evaluator.searches - searches
        of_cpu = JointKD(student, device="cpu", dtype="float64").get_forces(lattice(side))
        error = float(np.abs(forces - of_cpu).max() / np.abs(of_cpu).max())
        yield {"form": form, "atoms": side**3, "ms": taken, "searches_in_63": searched, "force_error": error}


def replicas(path: Path) -> Iterator[dict[str, Any]]:
    """MD steps of several lattices of 27 atoms in one call."""
    model = load_model(path, "cuda", None, ())
    for number in (1, 64, 1024):
        structures = [lattice(3) for _ in range(number)]
        atoms = joined(structures)
        atoms.calc = ReplicaCalculator(model, structures)
        atoms.get_forces()
        with alone():
            verlet = VelocityVerlet(atoms, 0.2 * units.fs)
            yield {"replicas": number, "ms": milliseconds(lambda verlet=verlet: verlet.run(1), 20)}


def labelling() -> Iterator[dict[str, Any]]:
    """Hessian rows per second of MACE teachers of random weights, beside mace-torch's `get_hessian`."""
    from mace.calculators import MACECalculator

    for size in labelling_benchmark.SIZES:
        model = labelling_benchmark.model(size, torch.float32).cuda()
        teacher = labelling_benchmark.teacher(size, "float32", "cuda")
        frames = 16 * labelling_benchmark.frames(Path(), 25)
        rows = [np.arange(16)] * len(frames)
        theirs = MACECalculator(models=[model], device="cuda", default_dtype="float32")
        image = Atoms(frames[0].numbers, frames[0].positions)
        with alone():
            ours = milliseconds(lambda teacher=teacher, frames=frames, rows=rows: teacher.label(frames, rows), 3)
            others = milliseconds(lambda theirs=theirs, image=image: theirs.get_hessian(image), 3)
        rates = {"rows_per_s": 1e3 * 16 * len(frames) / ours, "get_hessian_rows_per_s": 1e3 * 3 * len(image) / others}
        yield {"teacher": size, "atoms": len(image), **{name: round(rate) for name, rate in rates.items()}}


def nve(path: Path) -> dict[str, float]:
    """The largest change of the total energy in 1,000 steps of 0.5 fs of a relaxed lattice of 27 atoms, from 300 K."""
    drift = {}
    start = lattice(3)
    start.calc = JointKD(path, device="cpu", dtype="float64")
    BFGS(start, logfile=None).run(fmax=0.5, steps=200)
    for device in ("cpu", "cuda"):
        atoms = start.copy()
        atoms.calc = JointKD(path, device=device)
        MaxwellBoltzmannDistribution(atoms, temperature_K=300, rng=np.random.default_rng(0))
        dynamics, energies = VelocityVerlet(atoms, 0.5 * units.fs), []
        dynamics.attach(lambda atoms=atoms, energies=energies: energies.append(atoms.get_total_energy()))
        dynamics.run(1000)
        drift[device] = float(np.ptp(energies) / len(atoms))
    return drift


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    parser.add_argument("--student", type=Path, help="the file of a student, or the folder of its run")
    parser.add_argument("--cases", nargs="*", default=[",".join(map(str, each)) for each in CASES])
    parser.add_argument("--parity", nargs="*", default=list(STUDENTS))
    parser.add_argument("--output", type=Path, default=Path("gpu.json"))
    parser.add_argument("--limit", type=float, default=500, help="s, after which a case is stopped")
    parser.add_argument("--job", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if arguments.job:
        run_job(arguments.path, *arguments.job)
        return
    jobs = [("case", each) for each in arguments.cases] + [("parity", name) for name in arguments.parity]
    jobs += [] if arguments.student is None else [(kind, str(arguments.student)) for kind in ("dynamics", "package")]
    jobs += [("labelling", "")] if find_spec("mace") else []
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            "TORCHINDUCTOR_COMPILE_THREADS": "3",
            "OMP_NUM_THREADS": "1",
            "JOINTKD_GPU_READY": folder,
            "JOINTKD_GPU_CASES": str(len(arguments.cases)),
            "JOINTKD_GPU_LATE": str(time.time() + 0.65 * arguments.limit),
        }
        results = list(run_jobs(arguments.path, jobs, environment, arguments.limit))
    card = {"card": torch.cuda.get_device_name(), "torch": torch.__version__}
    arguments.output.write_text(json.dumps([card, *results], indent=1) + "\n", encoding="utf-8")


def run_job(path: Path, kind: str, of: str) -> None:
    """One job, in a process of its own; prints lines of JSON."""
    results: Iterable[dict[str, Any]] = {
        "case": lambda: [case(path, *of.split(",")[:1], *map(int, of.split(",")[1:]))],
        "parity": lambda: [parity(path, of)],
        "dynamics": lambda: dynamics(Path(of)),
        "package": lambda: exported_dynamics(Path(of)),
        "labelling": labelling,
    }[kind]()
    for result in results:
        print(json.dumps(result), flush=True)


def run_jobs(
    path: Path, jobs: list[tuple[str, str]], environment: dict[str, str], limit: float
) -> Iterator[dict[str, Any]]:
    """The results of all jobs, which run at the same time; they are printed as they come."""
    command = [sys.executable, "-m", "tests.benchmarks.gpu", str(path), "--job"]
    running = [subprocess.Popen([*command, *job], env=environment, stdout=subprocess.PIPE, text=True) for job in jobs]
    ends = time.monotonic() + limit
    for job, process in zip(jobs, running, strict=True):
        try:
            output, _ = process.communicate(timeout=max(1.0, ends - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
        results = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
        for result in results if process.returncode == 0 else [*results, {"failed": job, "status": process.returncode}]:
            print(json.dumps(result), flush=True)
            yield result


if __name__ == "__main__":
    main()
