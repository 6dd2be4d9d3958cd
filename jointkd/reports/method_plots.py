"""The plot of a few settings: their test errors as bars, and the validation errors during training."""

from collections.abc import Mapping
from pathlib import Path
from textwrap import fill
from typing import Any

from matplotlib import pyplot

from jointkd.palette import CYCLE, LINES, METHODS, OTHER, PAGE, SMALL
from jointkd.reports.plots import MAIN, TITLES, Names, Runs, error_bars, history, lowered, teacher_lines
from jointkd.reports.style import figure_of, legend_below, logarithmic, save

UPRIGHT, LETTERS = 5, 14  # more settings, or longer names, are bars that lie
WRAPPED = 42  # letters of a line of such a name


def methods(runs: Runs, names: Names, summary: dict[str, Any], path: Path) -> None:
    """Bars of the test errors, and the learning curves of the validation errors."""
    metrics = [name for name in TITLES if any(name in values for values in summary["methods"].values())]
    lying = len(runs) > UPRIGHT or max(map(len, names.values())) > LETTERS
    wrapped = {setting: fill(name, WRAPPED, break_on_hyphens=False) for setting, name in names.items()}
    lines = max(1 + name.count("\n") for name in wrapped.values())
    above = 1.2 + (0.05 + 0.15 * lines) * len(runs) if lying else 2.6
    figure = pyplot.figure(figsize=(PAGE, above + 2.8), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=[above, 2.8])
    upper, lower = parts
    values = {setting: summary["methods"][names[setting]] for setting in runs}
    for axis, name in zip(upper.subplots(1, len(metrics), squeeze=False)[0], metrics, strict=True):
        (lying_bars if lying else bars)(axis, name, values, wrapped if lying else names)
        teacher_lines(axis, name, runs, lying)
        if lying and name != metrics[0]:
            axis.tick_params(labelleft=False)
    shown = distinct_lines(runs, names)
    for axis, name in zip(lower.subplots(1, len(MAIN)), MAIN, strict=True):
        curves(axis, name, runs, shown)
    upper.suptitle(f"Test errors ({note(summary)})")
    legend_below(figure, axis, shown.values())
    save(figure, path)


def note(summary: Mapping[str, Any]) -> str:
    """Which seeds the errors are of, and what their bars of error are."""
    seeds = ", ".join(map(str, summary["seeds"]))
    if len(summary["seeds"]) > 1:
        return f"mean and standard deviation over seeds {seeds}"
    recorded = any("interval" in value for values in summary["methods"].values() for value in values.values())
    return f"seed {seeds}" + ("; error bars: 95 % interval over the test structures" if recorded else "")


def bars(axis: Any, metric: str, values: Mapping[Any, dict[str, Any]], names: Names) -> None:
    """A bar for each setting that has the metric."""
    shown = {setting: metrics[metric] for setting, metrics in values.items() if metric in metrics}
    container = axis.bar(
        [names[setting].replace(" ", "\n") for setting in shown],
        [value["mean"] for value in shown.values()],
        yerr=error_bars(shown.values()),
        color=[METHODS.get(setting.method, OTHER) for setting in shown],
        capsize=3,
    )
    axis.bar_label(container, fmt="%.3g", padding=2, fontsize=SMALL)
    axis.margins(y=0.15)
    axis.set_title(TITLES[metric])


def lying_bars(axis: Any, metric: str, values: Mapping[Any, dict[str, Any]], names: Names) -> None:
    """A bar for each setting, one below the other, so that names of any length can be read."""
    known = [metrics.get(metric, {"mean": 0.0, "std": None}) for metrics in values.values()]
    container = axis.barh(
        [names[setting] for setting in values],
        [value["mean"] for value in known],
        xerr=error_bars(known),
        color=[METHODS.get(setting.method, OTHER) for setting in values],
        capsize=2,
    )
    axis.bar_label(
        container, [f"{each['mean']:.3g}" if each["mean"] else "" for each in known], padding=2, fontsize=SMALL
    )
    axis.invert_yaxis()
    axis.margins(x=0.2, y=0.01)
    axis.set_title(TITLES[metric])


def learning(runs: Runs, names: Names, path: Path) -> None:
    """The learning curves alone."""
    shown = distinct_lines(runs, names)
    figure, axes = figure_of(1, len(MAIN))
    for axis, name in zip(axes[0], MAIN, strict=True):
        curves(axis, name, runs, shown)
    legend_below(figure, axes[0, 0], shown.values())
    save(figure, path)


def distinct_lines(runs: Runs, names: Names) -> Names:
    """The names of settings, or of their methods where there are too many settings to tell apart by colour."""
    return names if len(runs) <= len(CYCLE) else {setting: setting.method for setting in runs}


def curves(axis: Any, metric: str, runs: Runs, names: Names) -> None:
    """A validation error over training steps, a line for each run; those of one name look alike."""
    shown = list(dict.fromkeys(names.values()))
    methods_repeat = len({setting.method for setting in runs}) < len(shown)
    labelled = set()
    for setting, group in runs.items():
        name = names[setting]
        color = CYCLE[shown.index(name) % len(CYCLE)] if methods_repeat else METHODS.get(setting.method, OTHER)
        for run in group:
            steps, values = history(run["folder"], f"val/{metric}", "step")
            label = None if name in labelled else name
            labelled.add(name)
            axis.plot(steps, values, LINES.get(setting.method, "-"), color=color, label=label)
    logarithmic(axis)
    axis.set_xlabel("step")
    axis.set_ylabel("validation " + lowered(TITLES[metric]))
