"""Many runs side by side: means and standard deviations over seeds, by method."""

import csv
import json
import logging
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib
from omegaconf import DictConfig

from jointkd.errors import DataError

matplotlib.use("Agg")
from matplotlib import pyplot

log = logging.getLogger(__name__)

TITLES = {
    "energy_mae_meV_per_atom": "Energy MAE\nmeV/atom",
    "force_mae_meV_per_A": "Force MAE\nmeV/Å",
    "hessian_row_mae_eV_per_A2": "Hessian row MAE\neV/Å² (to the teacher)",
}
ORDER = ["none", "atomic_energy", "hessian", "joint"]
COLOURS = {"none": "#9aa0a6", "atomic_energy": "#e0a030", "hessian": "#4c78a8", "joint": "#c03a2b"}

Runs = dict[str, list[dict[str, Any]]]


def report(config: DictConfig) -> None:
    """Write summary.json, table.md and comparison.png for all finished runs below `runs`."""
    root = Path(config.runs)
    runs = read_runs(root)
    summary = summarise(runs)
    (root / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    text = table(summary)
    (root / "table.md").write_text(text + "\n")
    picture(runs, summary, root / "comparison.png")
    log.info("%s", text)
    log.info("written to %s: summary.json, table.md, comparison.png", root)


def read_runs(root: Path) -> Runs:
    """Summaries of the finished runs below `root` by method, and by data, teacher and student where those differ.

    Raises DataError where there is none.
    """
    runs = []
    for file in sorted(root.rglob("summary.json")):
        values = json.loads(file.read_text())
        if "method" in values:
            runs.append({**values, "folder": file.parent})
    if not runs:
        raise DataError(f"runs={root} holds no finished runs", "give a folder that training wrote")
    settings = ("data", "teacher", "student")
    differing = [name for name in settings if len({run[name] for run in runs}) > 1]
    found: Runs = defaultdict(list)
    for run in sorted(runs, key=lambda run: ORDER.index(run["method"]) if run["method"] in ORDER else len(ORDER)):
        found[" ".join([*(run[name] for name in differing), run["method"]])].append(run)
    return dict(found)


def summarise(runs: Runs) -> dict[str, Any]:
    """Mean and standard deviation over seeds of every test metric, by method, and the wall time of all."""
    everything = [run for group in runs.values() for run in group]
    methods = {}
    for method, group in runs.items():
        names = [name for name in group[0]["test"] if all(name in run["test"] for run in group)]
        methods[method] = {name: spread([run["test"][name] for run in group]) for name in names}
    return {
        "methods": methods,
        "seeds": sorted({run["seed"] for run in everything}),
        "seconds": round(max(run["ended"] for run in everything) - min(run["started"] for run in everything), 1),
    }


def spread(values: list[float]) -> dict[str, float]:
    return {"mean": statistics.fmean(values), "std": statistics.stdev(values) if len(values) > 1 else 0.0}


def table(summary: dict[str, Any]) -> str:
    """The methods' test metrics as a Markdown table."""
    names = [name for name in TITLES if any(name in metrics for metrics in summary["methods"].values())]
    lines = ["| method | " + " | ".join(TITLES[name].replace("\n", ", ") for name in names) + " |"]
    lines.append("|---" * (len(names) + 1) + "|")
    for method, metrics in summary["methods"].items():
        cells = [cell(metrics[name], len(summary["seeds"])) if name in metrics else "–" for name in names]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cell(value: dict[str, float], seeds: int) -> str:
    return f"{value['mean']:.3g}" + (f" ± {value['std']:.2g}" if seeds > 1 else "")


def picture(runs: Runs, summary: dict[str, Any], path: Path) -> None:
    """Bars of the test errors, and the validation errors as they fell during training."""
    names = [name for name in TITLES if any(name in metrics for metrics in summary["methods"].values())]
    figure = pyplot.figure(figsize=(9, 7), layout="constrained")
    grid = figure.add_gridspec(2, 6, height_ratios=[1, 1.1])
    width = 6 // max(len(names), 1)
    for column, name in enumerate(names):
        bars(figure.add_subplot(grid[0, column * width : (column + 1) * width]), name, summary)
    for column, name in enumerate(["energy_mae_meV_per_atom", "force_mae_meV_per_A"]):
        curves(figure.add_subplot(grid[1, 3 * column : 3 * column + 3]), name, runs)
    seeds = ", ".join(map(str, summary["seeds"]))
    note = f"mean and standard deviation over seeds {seeds}" if len(summary["seeds"]) > 1 else f"seed {seeds}"
    figure.suptitle(f"Test errors after equal training ({note})")
    figure.savefig(path, dpi=140)
    pyplot.close(figure)


def bars(axis: Any, name: str, summary: dict[str, Any]) -> None:
    values = {method: metrics[name] for method, metrics in summary["methods"].items() if name in metrics}
    drawn = axis.bar(
        list(values),
        [value["mean"] for value in values.values()],
        yerr=[value["std"] for value in values.values()],
        color=[COLOURS.get(method.split()[-1], "#555555") for method in values],
        capsize=3,
    )
    axis.bar_label(drawn, fmt="%.3g", padding=2)
    axis.margins(y=0.15)
    axis.set_title(TITLES[name], fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)


def curves(axis: Any, name: str, runs: Runs) -> None:
    for method, group in runs.items():
        for number, run in enumerate(group):
            steps, values = history(run["folder"] / "metrics" / "metrics.csv", f"val/{name}")
            label = method if number == 0 else None
            axis.plot(steps, values, color=COLOURS.get(method.split()[-1], "#555555"), label=label, alpha=0.8)
    axis.set_yscale("log")
    axis.set_xlabel("step")
    axis.set_ylabel("validation " + TITLES[name].replace("\n", ", "))
    axis.legend(frameon=False)
    axis.spines[["top", "right"]].set_visible(False)


def history(file: Path, name: str) -> tuple[list[int], list[float]]:
    """One logged quantity over training steps."""
    if not file.exists():
        return [], []
    with file.open() as opened:
        rows = [row for row in csv.DictReader(opened) if row.get(name)]
    return [int(row["step"]) for row in rows], [float(row[name]) for row in rows]
