"""Time of a step of molecular dynamics through the ASE calculator, one thread, as JSON.

    python -m tests.benchmarks.md --before ../jointkd-fc05e51

A conservative PaiNN of the example's size with random weights, whose energies are scaled down so that nothing flies
apart. Each form is a process of its own, and they take turns: `teacher`, the example's MACE by mace-torch's own
calculator; `before`, the calculator of another checkout; `no skin`, which searches for neighbours in every step;
`eager`; `exported`, the compiled library; `kept`, the library in a process that keeps freed memory, as `simulate` does.
Process time of velocity Verlet at 300 K with 0.5 fs, every turn from the same start; memory is the peak above what was
in use before (Linux).
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms, units
from ase.build import molecule
from ase.io import read
from ase.md.verlet import VelocityVerlet

STEPS = {25: 200, 90: 100, 1002: 10, 10002: 2}  # per turn
FORMS = ("teacher", "before", "no skin", "eager", "exported", "kept")
STUDENT = {"width": 48, "layers": 3, "radial": 24, "cutoff": 4.5, "conservative": True}


def system(size: int) -> Atoms:
    """A molecule of the example, or a periodic box of water at its density with molecules in random directions."""
    rng = np.random.default_rng(0)
    if size == 25:
        many = read("jointkd/demo/conformations.xyz.gz", ":")
        atoms = next(Atoms(each.numbers, each.positions) for each in many if len(each) == size)
    else:
        edge = (size / 3 * 29.9) ** (1 / 3)
        cells = int(np.ceil((size / 3) ** (1 / 3)))
        atoms = Atoms(cell=3 * [edge], pbc=True)
        for place in rng.permutation(np.argwhere(np.ones(3 * [cells])))[: size // 3]:
            water = molecule("H2O")
            water.euler_rotate(*rng.uniform(0, 360, 3))
            water.positions += edge / cells * place
            atoms += water
    spread = np.sqrt(300 * units.kB * atoms.get_masses())[:, None]
    atoms.set_momenta(spread * rng.standard_normal((size, 3)))
    return atoms


def write_student(path: Path) -> None:
    """The file of a student with random weights."""
    from jointkd.students.painn import PaiNN
    from jointkd.students.student_file import SavedStudent, save_student, target_of

    torch.manual_seed(0)
    student = PaiNN(**STUDENT)
    last: Any = student.energy_head[-1]
    torch.nn.init.normal_(last.weight, std=0.01)
    references = dict.fromkeys((1, 6, 7, 8, 9, 15, 16, 17), 0.0)
    save_student(path, SavedStudent({"_target_": target_of(PaiNN), **STUDENT}, student.state_dict(), references, {}))


def worker(form: str, path: str) -> None:
    """Answer each size on standard input with the time of a step (ms), searches per step, memory (MB) and energy."""
    torch.set_num_threads(1)
    if form == "kept":
        from jointkd.runtime import keep_freed_memory

        keep_freed_memory()
    calculator: Any = teacher() if form == "teacher" else student(path)
    near = None if form in ("teacher", "before") else calculator.force_field.evaluator.neighbors
    if form == "no skin":
        near.skin = 0.0
    for line in sys.stdin:
        atoms = system(int(line))
        atoms.calc = calculator
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before = memory("VmRSS")
        dynamics = VelocityVerlet(atoms, 0.5 * units.fs)
        dynamics.run(1)
        steps, searches = STEPS[len(atoms)], near.searches if near else 0
        start = time.process_time()
        dynamics.run(steps)
        spent = time.process_time() - start
        searched = (near.searches - searches) / steps if near else 1.0
        answer = {"ms": 1e3 * spent / steps, "searched": searched, "MB": memory("VmHWM") - before}
        print(json.dumps({**answer, "eV": atoms.get_total_energy()}), flush=True)


def student(path: str) -> Any:
    """The calculator of a student's file, or of a package."""
    from jointkd.calculator import JointKD

    return JointKD(path, trust=True) if path.endswith(".pt2") else JointKD(path)


def teacher() -> Any:
    """The calculator of the example's teacher in float32."""
    with contextlib.redirect_stdout(sys.stderr):  # mace-torch prints, and the answers go there
        from mace.calculators import MACECalculator

        from jointkd.teachers import mace_model

        module, _ = mace_model.load(Path("jointkd/demo/teacher"))
        return MACECalculator(models=[module], device="cpu", default_dtype="float32")


def memory(field: str) -> float:
    """Memory of this process by a field of the system, MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def start(form: str, checkout: Path, path: Path) -> Any:
    """The process of a form."""
    environment = {**os.environ, "PYTHONPATH": str(checkout.resolve()), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--worker", form, str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, **pipes)  # type: ignore[call-overload]


def ask(process: Any, size: int) -> dict[str, float]:
    """What a worker answers for a size."""
    process.stdin.write(f"{size}\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())


def compare(folder: Path, before: Path | None, sizes: list[int], turns: int) -> dict[str, Any]:
    """Medians of all forms by size, and what they were measured on."""
    from jointkd.deploy.export import export

    file = folder / "student.safetensors"
    write_student(file)
    began = time.monotonic()
    package = export(str(file), "aoti", device="cpu")
    checkouts = {form: Path() for form in FORMS} | {"before": before}
    forms = {
        form: start(form, checkout, package if form in ("exported", "kept") else file)
        for form, checkout in checkouts.items()
        if checkout is not None
    }
    results: dict[str, Any] = {"export_s": time.monotonic() - began, "torch": torch.__version__, "cpu": cpu()}
    for size in sizes:
        answers: dict[str, list[dict[str, float]]] = {form: [] for form in forms}
        for turn in range(turns):
            for form in list(forms) if turn % 2 else list(forms)[::-1]:
                answers[form].append(ask(forms[form], size))
        results[str(size)] = {form: summary(values) for form, values in answers.items()}
    for process in forms.values():
        process.stdin.close()
        process.wait()
    return {**results, "load": os.getloadavg()}


def summary(answers: list[dict[str, float]]) -> dict[str, float]:
    """The median over turns, its range, and the largest memory."""
    times = [answer["ms"] for answer in answers]
    last = answers[-1]
    return {
        "ms": statistics.median(times),
        "least": min(times),
        "most": max(times),
        "searched": last["searched"],
        "MB": max(answer["MB"] for answer in answers),
        "eV": last["eV"],
    }


def cpu() -> str:
    """The model of the processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(line.partition(": ")[2] for line in lines if line.startswith("model name"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="another checkout, whose calculator is compared")
    parser.add_argument("--sizes", type=int, nargs="+", default=[25, 90, 1002], choices=STEPS)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(*options.worker)
        return
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(compare(Path(folder), options.before, options.sizes, options.turns), indent=1))


if __name__ == "__main__":
    main()
