"""Many runs side by side: means and standard deviations over seeds, as the paper's tables group them."""

import json
import logging
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

from jointkd.reports import plots
from jointkd.reports.plots import TITLES, history
from jointkd.reports.runs import ORDER, SYMBOLS, Runs, Setting, read_runs

log = logging.getLogger(__name__)


def write_comparison(root: Path) -> None:
    """Write summary.json, table.md and pictures of all finished runs below a folder into it. Raises DataError."""
    runs = read_runs(root)
    summary = summarise(runs)
    (root / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    text = "\n\n".join(filter(None, [table(runs, summary), epochs_table(summary)]))
    (root / "table.md").write_text(text + "\n")
    written = ["summary.json", "table.md", "comparison.png"]
    swept = [name for name in (*SYMBOLS, "options") if name in varying(runs)]
    if len(swept) == 1 and swept[0] in SYMBOLS:
        plots.sweep(runs, names(runs), summary, swept[0], SYMBOLS[swept[0]], root / "comparison.png")
    elif swept or len(runs) <= len(ORDER["method"]):
        plots.methods(runs, names(runs), summary, root / "comparison.png")
    else:
        plots.grid(runs, names(runs), summary, root / "comparison.png")
    if summary["epochs"]:
        plots.epochs(summary["epochs"], root / "epochs.png")
        written.append("epochs.png")
    log.info("%s", text)
    log.info("written to %s: %s", root, ", ".join(written))


def varying(runs: Runs) -> list[str]:
    """What tells the settings apart: data, teacher and student where they differ; the method; the width and the
    weights that differ between runs which are alike in all that; and other options, if any differ."""
    found = [name for name in ("data", "teacher", "student") if len({getattr(setting, name) for setting in runs}) > 1]
    found.append("method")
    for name in SYMBOLS:
        seen = defaultdict(set)
        for setting in runs:
            seen[setting.data, setting.teacher, setting.student, setting.method].add(getattr(setting, name))
        if any(len(values) > 1 for values in seen.values()):
            found.append(name)
    return [*found, "options"] if any(setting.options for setting in runs) else found


def names(runs: Runs) -> dict[Setting, str]:
    """A short name for each setting, of what tells it apart."""
    shown = varying(runs)
    return {
        setting: " ".join(
            f"{SYMBOLS[name]}={getattr(setting, name):g}" if name in SYMBOLS else getattr(setting, name)
            for name in shown
            if name != "options" or setting.options
        )
        for setting in runs
    }


def summarise(runs: Runs) -> dict[str, Any]:
    """Mean and standard deviation over seeds of every test metric by name, the wall time of all, epochs to match."""
    everything = [run for group in runs.values() for run in group]
    methods = {}
    for setting, group in runs.items():
        metrics = [name for name in group[0]["test"] if all(name in run["test"] for run in group)]
        methods[names(runs)[setting]] = {name: spread([run["test"][name] for run in group]) for name in metrics}
    return {
        "methods": methods,
        "seeds": sorted({run["seed"] for run in everything}),
        "seconds": round(max(run["ended"] for run in everything) - min(run["started"] for run in everything), 1),
        "epochs": epochs_to_match(runs),
    }


def spread(values: list[float]) -> dict[str, float]:
    return {"mean": statistics.fmean(values), "std": statistics.stdev(values) if len(values) > 1 else 0.0}


def baseline(setting: Setting, runs: Runs) -> Setting | None:
    """The Hessian-only setting that a joint one is to be compared with."""
    if setting.method != "joint":
        return None
    same = (setting.data, setting.teacher, setting.student, setting.width)
    alike = [o for o in runs if o.method == "hessian" and o[:4] == same and o.options == setting.options]
    return alike[0] if len(alike) == 1 else None


def table(runs: Runs, summary: dict[str, Any]) -> str:
    """Test metrics as a Markdown table; joint runs with their change against Hessian-only ones, and teachers' own."""
    shown, called = varying(runs), names(runs)
    metrics = [name for name in TITLES if any(name in values for values in summary["methods"].values())]
    heads = [SYMBOLS.get(name, name) for name in shown]
    lines = ["| " + " | ".join([*heads, *(TITLES[name].replace("\n", ", ") for name in metrics)]) + " |"]
    lines.append("|---" * (len(heads) + len(metrics)) + "|")
    taught = set()
    for setting, group in runs.items():
        own = group[0]["teacher_test"]
        if own and (setting.data, setting.teacher) not in taught:
            taught.add((setting.data, setting.teacher))
            cells = ["–" if name in ("student", "options", *SYMBOLS) else getattr(setting, name) for name in shown]
            cells[shown.index("method")] = f"teacher {setting.teacher}"
            lines.append("| " + " | ".join([*cells, *(f"{own[n]:.3g}" if n in own else "–" for n in metrics)]) + " |")
        other = baseline(setting, runs)
        values = summary["methods"][called[setting]]
        base = summary["methods"][called[other]] if other else {}
        cells = [value(setting, name, group[0]["parameters"]) for name in shown]
        cells += [cell(values.get(name), base.get(name), len(summary["seeds"])) for name in metrics]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def value(setting: Setting, name: str, parameters: int) -> str:
    if name == "student" or name == "width":
        return f"{getattr(setting, name)} ({parameters / 1e6:.2g}M)"
    return f"{getattr(setting, name):g}" if name in SYMBOLS else getattr(setting, name) or "–"


def cell(value: dict[str, float] | None, base: dict[str, float] | None, seeds: int) -> str:
    if value is None:
        return "–"
    text = f"{value['mean']:.3g}" + (f" ± {value['std']:.2g}" if seeds > 1 else "")
    return text + (f" ({100 * (value['mean'] / base['mean'] - 1):+.1f}%)" if base and base["mean"] else "")


def epochs_to_match(runs: Runs) -> list[dict[str, Any]]:
    """For each joint setting, after how many epochs it and the Hessian-only one first had the validation energy error
    that the latter ended with (figure 3): means over seeds, None where one did not get there."""
    found = []
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
            found.append({"data": setting.data, "student": setting.student, "width": setting.width, **means})
    return found


def energy_curve(run: dict[str, Any]) -> list[tuple[int, float]]:
    """Epochs, counted from one, and validation energy errors."""
    epochs, errors = history(run["folder"], "val/energy_mae_meV_per_atom", "epoch")
    return [(epoch + 1, error) for epoch, error in zip(epochs, errors, strict=True)]


def epochs_table(summary: dict[str, Any]) -> str:
    """Epochs to match as a Markdown table, or nothing."""
    if not summary["epochs"]:
        return ""
    lines = ["Epochs to the validation energy error that the Hessian run ended with:", ""]
    lines += ["| data | student | width | hessian | joint |", "|---|---|---|---|---|"]
    for row in summary["epochs"]:
        epochs = [f"{row[name]:g}" if row[name] is not None else "not reached" for name in ("hessian", "joint")]
        lines.append(f"| {row['data']} | {row['student']} | {row['width']} | {' | '.join(epochs)} |")
    return "\n".join(lines)
