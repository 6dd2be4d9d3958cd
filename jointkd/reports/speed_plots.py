"""Speed: errors against simulated time per day (the paper, figure 4), and the cost of each method (figure 6)."""

import json
import logging
import statistics
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jointkd.files.run_files import SPEED
from jointkd.palette import COLUMN, MARKERS, METHODS, OTHER, SMALL, TEACHER
from jointkd.reports.figures import Figure
from jointkd.reports.plots import MAIN, TITLES, lowered
from jointkd.reports.runs import Runs
from jointkd.reports.style import figure_of, logarithmic, save
from jointkd.reports.tables import Table, names

log = logging.getLogger(__name__)

FILE = "throughput.png"
BENCH, OVERHEAD = "bench.json", "overhead.png"
AREA = 25  # points², of the dot of a student with a million parameters

Speeds = Mapping[str, Mapping[int, float]]  # ms per step by force field and number of atoms


def read(folder: Path) -> Speeds:
    """The speeds that the folder of a run has; empty without any."""
    try:
        content = json.loads((folder / SPEED).read_text(encoding="utf-8"))
        speeds: dict[str, dict[int, float]] = {}
        for row in content["dynamics"]:
            speeds.setdefault(str(row["force_field"]), {})[int(row["atoms"])] = float(row["ms"])
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("%s is left out: it cannot be read (%s)", folder / SPEED, error)
        return {}
    return speeds


def throughput(root: Path, runs: Runs, summary: Mapping[str, Any]) -> Figure | None:
    """Draw errors against nanoseconds per day; None where no speeds were measured."""
    speeds = {setting: read(group[0]["folder"]) for setting, group in runs.items()}
    measured = {setting: of["student"] for setting, of in speeds.items() if "student" in of}
    if not measured:
        return None
    atoms = max(set.intersection(*(set(of) for of in measured.values())), default=0)
    rows = table(runs, speeds)
    if not atoms:
        return None
    figure, axes = figure_of(1, len(MAIN))
    for axis, metric in zip(axes[0], MAIN, strict=True):
        of_students(axis, metric, runs, summary, {setting: of[atoms] for setting, of in measured.items()})
        of_teachers(axis, metric, runs, speeds, atoms)
        axis.margins(0.15)
        logarithmic(axis, "x")
        axis.set_xlabel(f"simulated time, ns/day ({atoms} atoms, 1 fs steps)")
        axis.set_ylabel("test " + lowered(TITLES[metric]))
        axis.legend()
    save(figure, root / FILE)
    text = (
        "Errors against speed, as in the paper's figure 4: fast and accurate is at the lower right. The area of a dot "
        "and the label above it are the number of parameters, M for millions; a star is a teacher."
    )
    return Figure(FILE, "Accuracy and throughput", text, f"{SPEED} in the folder of each run", rows)


def of_students(axis: Any, metric: str, runs: Runs, summary: Mapping[str, Any], times: Mapping[Any, float]) -> None:
    """A dot for each setting that has the metric. times: ms per step."""
    own, labelled = names(runs), set()
    sizes = {setting: runs[setting][0]["parameters"] / 1e6 for setting in times}
    for setting, ms in times.items():
        error = summary["methods"][own[setting]].get(metric)
        if error is None:
            continue
        place, color = (ns_per_day(ms), error["mean"]), METHODS.get(setting.method, OTHER)
        label = None if setting.method in labelled else setting.method
        labelled.add(setting.method)
        axis.scatter(
            *place,
            s=15 + AREA * sizes[setting],
            color=color,
            marker=MARKERS.get(setting.method, "o"),
            alpha=0.8,
            label=label,
        )
    same: dict[float, list[float]] = defaultdict(list)  # ns/day of students of a size, which differ little
    for setting, size in sizes.items():
        same[size].append(ns_per_day(times[setting]))
    for size, days in same.items():
        place = (statistics.geometric_mean(days), 1.01)
        axis.text(*place, f"{size:.2g}M", transform=axis.get_xaxis_transform(), rotation=60, fontsize=SMALL)


def of_teachers(axis: Any, metric: str, runs: Runs, speeds: Mapping[Any, Speeds], atoms: int) -> None:
    """A star for each teacher whose speed and error are known."""
    drawn = set()
    for setting, group in runs.items():
        error = group[0]["teacher_test"].get(metric)
        for name, of in speeds[setting].items():
            if name == "student" or error is None or atoms not in of or setting.teacher in drawn:
                continue
            drawn.add(setting.teacher)
            axis.scatter(
                ns_per_day(of[atoms]), error, s=60, marker="*", color=TEACHER, label=f"teacher {setting.teacher}"
            )


def table(runs: Runs, speeds: Mapping[Any, Speeds]) -> Table:
    """ms per step and ns per day of each student, and how many times as fast as its teacher it is."""
    rows = []
    for setting, name in names(runs).items():
        of = dict(speeds[setting])
        for atoms, ms in of.pop("student", {}).items():
            teacher = next((others[atoms] for others in of.values() if atoms in others), None)
            times = "–" if teacher is None else f"{teacher / ms:.3g}"
            parameters = f"{runs[setting][0]['parameters'] / 1e6:.2g}"
            rows.append([name, parameters, str(atoms), f"{ms:.3g}", f"{ns_per_day(ms):.3g}", times])
    return Table(["run", "parameters, millions", "atoms", "ms per step", "ns/day at 1 fs", "times its teacher"], rows)


def ns_per_day(milliseconds: float) -> float:
    """The simulated time at steps of 1 fs that take so long."""
    return 86.4 / milliseconds


def overhead(training: Mapping[str, Any], path: Path) -> None:
    """Bars of a training step by method and number of Hessian rows; the paper, figure 6.

    training: what `bench` measured, by the name of the step with its `cpu_ms` and `of_none`.
    """
    steps = {name: value for name, value in training.items() if isinstance(value, Mapping) and "cpu_ms" in value}
    figure, ((axis,),) = figure_of(1, 1, width=max(COLUMN, 0.75 * len(steps)), height=2.7)
    for x, (name, value) in enumerate(steps.items()):
        bar = axis.bar(x, value["cpu_ms"], 0.7, color=METHODS.get(name.partition(" ")[0], OTHER))
        rows = name.partition(" s=")[2]
        extra = training.get(f"atomic_energy_overhead s={rows}") if name.startswith("joint") else None
        text = f"{value['of_none']:.3g}×" if extra is None else f"{value['of_none']:.3g}×\n({100 * extra:+.2g} %)"
        axis.bar_label(bar, [text], fontsize=SMALL)
    axis.set_xticks(range(len(steps)), [name.replace(" ", "\n") for name in steps])
    axis.set_ylabel("training step, ms")
    axis.set_title(f"{training.get('student')}, {training.get('atoms')} atoms")
    axis.margins(y=0.2)
    save(figure, path)


def benchmark(root: Path) -> Figure | None:
    """The cost of the methods as `python -m jointkd.bench` measured it, if its folder lies below that of the runs."""
    for file in sorted(root.rglob(BENCH)):
        try:
            training = json.loads(file.read_text(encoding="utf-8"))["training"]
            overhead(training, root / OVERHEAD)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.info("%s has no training steps (%s)", file, error)
            continue
        text = (
            "Time of a training step, times that without the teacher and, in parentheses, the change by the atomic "
            "energies, as in the paper's figure 6: prediction, loss, gradients and the optimiser, without loading."
        )
        return Figure(OVERHEAD, "Cost of a training step", text, str(file.relative_to(root)))
    return None
