"""How long things take here: never part of the tests, always with the machine they were measured on."""

import ctypes
import json
import logging
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from jointkd.cli.arguments import option_name
from jointkd.commands.bench_dynamics import STUDENT, dynamics
from jointkd.commands.build import build_data, build_module, check_labelling, join_labels, plain, teacher_here
from jointkd.commands.recorded_teacher import recorded_teacher
from jointkd.data.datamodule import DistillationData
from jointkd.files.atomic import write_whole
from jointkd.files.run_files import SPEED, SUMMARY
from jointkd.labelling.batching import Batching
from jointkd.labels.directions import choose_rows
from jointkd.ranges import check_integer
from jointkd.reports.speed_plots import overhead
from jointkd.runtime import device_of, hardware, keep_freed_memory
from jointkd.structures.batch import Structure
from jointkd.students.base import Student
from jointkd.students.derivatives import predict
from jointkd.training.loss import Term
from jointkd.training.module import DistillationModule
from jointkd.training.weighted_sum import weighted_sum

log = logging.getLogger(__name__)


def run(config: DictConfig) -> None:
    """Measure training steps, labelling and start-up, or the dynamics of `bench.run`; print, and write bench.json."""
    check(config.bench)
    torch.set_num_threads(config.bench.threads)
    keep_freed_memory()  # as training and labelling on a CPU do
    directory = Path(HydraConfig.get().runtime.output_dir)
    device = torch.device(device_of(config.bench.device if config.bench.run is not None else "cpu"))
    machine = {**hardware(device), "torch": torch.__version__}
    if config.bench.run is not None:
        log.info("%s", ", ".join(f"{name} {value}" for name, value in machine.items()))
        write({"machine": machine, "dynamics": dynamics_of_runs(config, machine)}, directory)
        return
    module = build_module(config)
    check_labelling(config, module)
    data = build_data(config, directory, module)
    steps = training(config, module, data)
    results = {
        "machine": machine,
        "training": steps,
        "labelling": labelling(config, data),
        "help_seconds": start_up(),
    }
    log.info("%s", json.dumps(results, indent=2))
    write(results, directory)
    overhead(steps, directory / "overhead.png")
    log.info("plotted in %s", directory / "overhead.png")


def dynamics_of_runs(config: DictConfig, machine: dict[str, Any]) -> list[dict[str, Any]]:
    """The dynamics of `bench.run`, or of every finished run below it; each has its own in speed.json, for the report.

    The teacher, that of the runs if no other is chosen, is timed beside the first student.
    """
    root = Path(str(config.bench.run)).expanduser()
    runs = [file.parent for file in sorted(root.rglob(SUMMARY))] if root.is_dir() else []
    given = map(option_name, HydraConfig.get().overrides.task)
    chosen = any(name.partition(".")[0] == "teacher" for name in given)
    teacher = teacher_here(config) if chosen else recorded_teacher(runs or [root], plain(config.bench.trust))
    rows: list[dict[str, Any]] = []
    of_teacher: list[dict[str, Any]] = []
    for run in runs or [root]:
        if len(runs) > 1:
            log.info("%s", run)
        own = dynamics(config, str(run), None if of_teacher else teacher)
        if runs:
            earlier = run / "speed-previous.json"
            content = json.dumps({"machine": machine, "dynamics": own + of_teacher}, indent=2) + "\n"
            write_whole(run / SPEED, content.encode(), keep=earlier)
        of_teacher = of_teacher or [row for row in own if row["force_field"] != STUDENT]
        rows += [{**row, "run": str(run)} for row in own]
    return rows


def write(results: dict[str, Any], directory: Path) -> None:
    """Write bench.json and say where it is."""
    (directory / "bench.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    log.info("written to %s", directory / "bench.json")


def check(options: DictConfig) -> None:
    """Raise ConfigError for an option that is out of range."""
    for name in ("steps", "label_rows", "threads"):
        check_integer(f"bench.{name}", options[name])
    check_integer("bench.warmup", options.warmup, least=0)
    for rows in options.rows:
        check_integer("bench.rows", rows)


def training(config: DictConfig, module: DistillationModule, data: DistillationData) -> dict[str, Any]:
    """Median time of a training step by method and number of rows, in turns on the same batch.

    The kinds of step change their order from turn to turn. `atomic_energy_overhead` is the median over turns of
    joint / hessian - 1; `matrix_product_ms` is that of one fixed product beside the steps, to compare machines by.
    """
    join_labels(config, module, data)
    batch = batch_with_rows(data, max(config.bench.rows))
    student = module.student
    optimizer = instantiate(config.optimizer)(student.parameters())
    kinds: dict[str, Callable[[], None]] = {"none": stepper(student, optimizer, terms(config, "none", 0), batch)}
    for rows in config.bench.rows:
        for method in ("hessian", "joint"):
            kinds[f"{method} s={rows}"] = stepper(student, optimizer, terms(config, method, rows), batch)
    left, right = torch.randn(16384, 128), torch.randn(128, 384)
    everything = {**kinds, "matrix product": lambda: torch.mm(left, right)}
    times: dict[str, list[float]] = {name: [] for name in everything}
    for turn in range(config.bench.warmup + config.bench.steps):
        for name in everything if turn % 2 else reversed(everything):
            start = time.process_time()
            everything[name]()
            if turn >= config.bench.warmup:
                times[name].append(time.process_time() - start)
    median = {name: round(1e3 * statistics.median(values), 2) for name, values in times.items()}
    result: dict[str, Any] = {
        name: {
            "cpu_ms": median[name],
            "of_none": round(median[name] / median["none"], 2),
            "peak_mb": peak_memory(kinds[name]),
        }
        for name in kinds
    }
    result["matrix_product_ms"] = median["matrix product"]
    for rows in config.bench.rows:
        ratios = [j / h - 1 for j, h in zip(times[f"joint s={rows}"], times[f"hessian s={rows}"], strict=True)]
        result[f"atomic_energy_overhead s={rows}"] = round(statistics.median(ratios), 5)
    return {
        "student": config.student_name,
        "parameters": sum(parameter.numel() for parameter in student.parameters()),
        "atoms": len(batch.positions),
        "edges": batch.edge_index.shape[1],
        **result,
    }


def batch_with_rows(data: DistillationData, rows: int) -> Structure:
    """The first training batch, with `rows` Hessian rows per structure."""
    teacher = data.teacher["train"]
    assert teacher is not None
    data.teacher["train"] = replace(teacher, rows=rows)
    return next(iter(data.train_dataloader()))


def terms(config: DictConfig, method: str, rows: int) -> dict[str, Term]:
    """The terms of a method with the configured weights."""
    chosen: Any = OmegaConf.to_container(config.method.terms, resolve=True)
    names = {"none": ["energy", "forces"], "hessian": ["energy", "forces", "hessian"]}.get(method, list(chosen))
    options = {name: dict(chosen[name]) for name in names}
    if "hessian" in options:
        options["hessian"]["rows"] = rows
    return {name: instantiate(option) for name, option in options.items()}


def stepper(
    student: Student, optimizer: torch.optim.Optimizer, terms: dict[str, Term], batch: Structure
) -> Callable[[], None]:
    """One training step: prediction, loss, backward, update."""
    rows = max(term.rows for term in terms.values())
    along = {
        name: value for name in ("row_ids", "probes", "hessian_rows") if (value := getattr(batch, name)) is not None
    }
    trimmed = replace(batch, **{name: value[:, :rows] for name, value in along.items()})

    def step() -> None:
        prediction = predict(student, trimmed, trimmed.directions if rows else None)
        loss, _ = weighted_sum(terms, {name: term(prediction, trimmed) for name, term in terms.items()})
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def peak_memory(work: Callable[[], Any]) -> int | None:
    """MB by which memory rises while `work` runs; None where the system does not say (it is read from /proc)."""
    if not Path("/proc/self/clear_refs").exists():
        return None
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak starts again from what is in use now
    before = resident("VmRSS")
    work()
    return round((resident("VmHWM") - before) / 1024)


def resident(field: str) -> int:
    """kB of this process as /proc says."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(next(line for line in status.splitlines() if line.startswith(field)).split()[1])


def labelling(config: DictConfig, data: DistillationData) -> dict[str, Any]:
    """Hessian rows per second of the teacher, and how far memory rises."""
    teacher = teacher_here(config)
    assert teacher is not None  # as `training` has its labels
    frames = list(data.frames["train"][:8])
    rows = max(1, config.bench.label_rows // len(frames))
    directions = {frame.key: choose_rows(frame.key, len(frame), rows, 0) for frame in frames}
    batching = Batching(teacher)
    batching.label(frames, [directions[frame.key][:1] for frame in frames])

    def work() -> None:
        batching.label(frames, [directions[frame.key] for frame in frames])

    start = time.perf_counter()
    risen = peak_memory(work)
    seconds = time.perf_counter() - start
    return {
        "teacher": teacher.identity.name,
        "dtype": teacher.identity.dtype,
        "atoms_per_structure": round(sum(map(len, frames)) / len(frames), 1),
        "rows_per_second": round(sum(len(ids) for ids in directions.values()) / seconds, 1),
        "peak_mb": risen,
    }


def start_up(repeats: int = 5) -> float:
    """Median seconds of `python -m jointkd.train --help`."""
    times = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(repeats):
            start = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "jointkd.train", "--help"], cwd=folder, capture_output=True, check=True
            )
            times.append(time.perf_counter() - start)
    return round(statistics.median(times), 3)
