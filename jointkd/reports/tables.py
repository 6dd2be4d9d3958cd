"""Tables of many runs: means and standard deviations over seeds, grouped as in the paper's tables."""

import statistics
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from jointkd.reports.plots import TITLES, history
from jointkd.reports.runs import SYMBOLS, Runs, Setting
from jointkd.reports.structures import TestedStructures

ENERGY = "energy_mae_meV_per_atom"
COLUMNS = {ENERGY: TITLES[ENERGY], "energy_mae_meV": "Energy MAE\nmeV", **TITLES}  # tables 3 and 4 have both energies


@dataclass(frozen=True)
class Table:
    """A table of texts. best: rows and columns of the cells that are the best of those they compete with."""

    head: list[str]
    rows: list[list[str]]
    best: frozenset[tuple[int, int]] = frozenset()

    def markdown(self) -> str:
        """The table in Markdown."""
        lines = [self.head, *self.rows]
        text = ["| " + " | ".join(cells) + " |" for cells in lines]
        return "\n".join([text[0], "|---" * len(self.head) + "|", *text[1:]])


def varying(runs: Runs) -> list[str]:
    """The fields that distinguish the settings.

    These are data, teacher and student if they differ; the method; the width and the weights that differ between
    settings with the same values of the former; and `options`, if other options differ.
    """
    fields = [name for name in ("data", "teacher", "student") if len({getattr(setting, name) for setting in runs}) > 1]
    fields.append("method")
    for name in SYMBOLS:
        values = defaultdict(set)
        for setting in runs:
            values[setting.data, setting.teacher, setting.student, setting.method].add(getattr(setting, name))
        if any(len(different) > 1 for different in values.values()):
            fields.append(name)
    return [*fields, "options"] if any(setting.options for setting in runs) else fields


def names(runs: Runs) -> dict[Setting, str]:
    """A short name of each setting, made of the fields that distinguish it."""
    fields = varying(runs)
    return {
        setting: " ".join(
            f"{SYMBOLS[name]}={getattr(setting, name):g}" if name in SYMBOLS else getattr(setting, name)
            for name in fields
            if name != "options" or setting.options
        )
        for setting in runs
    }


def summarise(runs: Runs) -> dict[str, Any]:
    """Means and standard deviations over seeds of all test metrics, the total wall time, and the epochs to match."""
    everything = [run for group in runs.values() for run in group]
    methods = {}
    for setting, group in runs.items():
        metrics = [name for name in group[0]["test"] if all(name in run["test"] for run in group)]
        values = {name: spread([run["test"][name] for run in group]) for name in metrics}
        tested = TestedStructures.read(group[0]["folder"]) if len(group) == 1 else None
        for name, interval in (tested.intervals() if tested else {}).items():
            if name in values:
                values[name]["interval"] = list(interval)
        methods[names(runs)[setting]] = values
    return {
        "methods": methods,
        "seeds": sorted({run["seed"] for run in everything}),
        "seconds": round(max(run["ended"] for run in everything) - min(run["started"] for run in everything), 1),
        "epochs": epochs_to_match(runs),
    }


def spread(values: list[float]) -> dict[str, Any]:
    """Mean and sample standard deviation; a single value has no standard deviation (None)."""
    return {"mean": statistics.fmean(values), "std": statistics.stdev(values) if len(values) > 1 else None}


def baseline(setting: Setting, runs: Runs) -> Setting | None:
    """The Hessian-only setting with which a joint one is compared, None if there is not exactly one."""
    if setting.method != "joint":
        return None
    same = (setting.data, setting.teacher, setting.student, setting.width)
    candidates = [o for o in runs if o.method == "hessian" and o[:4] == same and o.options == setting.options]
    return candidates[0] if len(candidates) == 1 else None


def table(runs: Runs, summary: dict[str, Any]) -> Table:
    """The test metrics, with teachers' errors and the change of joint against Hessian-only runs; the paper, table 2."""
    fields, short_names = varying(runs), names(runs)
    metrics = [name for name in COLUMNS if any(name in values for values in summary["methods"].values())]
    head = [*(SYMBOLS.get(name, name) for name in fields), *(COLUMNS[name].replace("\n", ", ") for name in metrics)]
    rows: list[list[str]] = []
    competing: dict[tuple[Any, ...], list[tuple[float, int, int]]] = defaultdict(list)
    teachers = set()
    for setting, group in runs.items():
        errors = group[0]["teacher_test"]
        if errors and (setting.data, setting.teacher) not in teachers:
            teachers.add((setting.data, setting.teacher))
            cells = ["–" if name in ("student", "options", *SYMBOLS) else getattr(setting, name) for name in fields]
            cells[fields.index("method")] = f"teacher {setting.teacher}"
            rows.append(cells + [f"{errors[name]:.3g}" if name in errors else "–" for name in metrics])
        other = baseline(setting, runs)
        values = summary["methods"][short_names[setting]]
        base = summary["methods"][short_names[other]] if other else {}
        for column, name in enumerate(metrics, start=len(fields)):
            if name in values:
                competing[setting.data, setting.student, name].append((values[name]["mean"], len(rows), column))
        cells = [value(setting, name, group[0]["parameters"]) for name in fields]
        rows.append(cells + [cell(values.get(name), base.get(name)) for name in metrics])
    return Table(head, rows, frozenset(place for group in competing.values() for place in winners(group)))


def winners(entries: list[tuple[float, int, int]]) -> list[tuple[int, int]]:
    """Row and column of the smallest values, those that read the same included, where there is more than one value."""
    smallest = f"{min(entries)[0]:.3g}"
    return [(row, column) for error, row, column in entries if f"{error:.3g}" == smallest] if len(entries) > 1 else []


def caption(runs: Runs, summary: dict[str, Any]) -> str:
    """What the percentages and the numbers behind ± in the table are; empty where there are none."""
    lines = []
    if any(len(group) > 1 for group in runs.values()):
        lines.append("a ± b: mean and sample standard deviation over seeds.")
    if any("interval" in value for values in summary["methods"].values() for value in values.values()):
        lines.append(
            "[a, b]: for a single seed, the 95 % interval over the choice of test structures (bootstrap), which says "
            "nothing of other seeds."
        )
    if any(baseline(setting, runs) for setting in runs):
        lines.append(
            "Percentages: the change of a joint run's error from that of the Hessian-only run (method=hessian) with "
            "the same data, teacher, student and options; negative is better."
        )
    return " ".join(lines)


def value(setting: Setting, name: str, parameters: int) -> str:
    """A field of a setting as text, with the number of parameters for a student or a width."""
    if name == "student" or name == "width":
        return f"{getattr(setting, name)} ({parameters / 1e6:.2g}M)"
    return f"{getattr(setting, name):g}" if name in SYMBOLS else getattr(setting, name) or "–"


def cell(value: dict[str, Any] | None, base: dict[str, Any] | None) -> str:
    """A metric as text, with its standard deviation over several seeds and its change against `base`."""
    if value is None:
        return "–"
    text = f"{value['mean']:.3g}" + ("" if value["std"] is None else f" ± {value['std']:.2g}")
    if "interval" in value:
        text += " [{:.3g}, {:.3g}]".format(*value["interval"])
    return text + (f" ({100 * (value['mean'] / base['mean'] - 1):+.1f}%)" if base and base["mean"] else "")


def epochs_to_match(runs: Runs) -> list[dict[str, Any]]:
    """The epochs after which joint and Hessian-only runs first reach the final validation energy error of the latter.

    Means over seeds for each joint setting, None if a run does not reach it. Source: the paper, figure 3.
    """
    rows = []
    for setting, group in runs.items():
        other = baseline(setting, runs)
        reached: dict[str, list[int | None]] = {"hessian": [], "joint": []}
        for run in runs[other] if other else []:
            curve = energy_curve(run)
            for method, candidates in (("hessian", [run]), ("joint", [r for r in group if r["seed"] == run["seed"]])):
                for candidate in candidates if curve else []:
                    epochs = [epoch for epoch, error in energy_curve(candidate) if error <= curve[-1][1]]
                    reached[method].append(min(epochs, default=None))
        if reached["joint"]:
            means = {
                method: None if None in epochs else statistics.fmean(filter(None, epochs))
                for method, epochs in reached.items()
            }
            same = {"data": setting.data, "student": setting.student, "width": setting.width}
            rows.append({**same, "options": setting.options, **means})
    return rows


def energy_curve(run: dict[str, Any]) -> list[tuple[int, float]]:
    """The validation energy error after each validated epoch, counted from one."""
    epochs, errors = history(run["folder"], "val/energy_mae_meV_per_atom", "epoch")
    return [(epoch + 1, error) for epoch, error in zip(epochs, errors, strict=True)]


def epochs_table(summary: dict[str, Any]) -> Table | None:
    """The epochs to match, None if there are none."""
    rows: list[list[str]] = []
    more = any(row["options"] for row in summary["epochs"])
    for row in summary["epochs"]:
        epochs = [f"{row[name]:g}" if row[name] is not None else "not reached" for name in ("hessian", "joint")]
        rows.append(
            [str(row["data"]), str(row["student"]), str(row["width"]), *([row["options"]] if more else []), *epochs]
        )
    head = ["data", "student", "width", *(["options"] if more else []), "hessian", "joint"]
    return Table(head, rows) if rows else None
