"""What the evaluation of a file found, as a value and as text."""

from collections.abc import Mapping
from dataclasses import dataclass

from jointkd.evaluation.errors import Metrics

SHOWN = 20  # rows of a table
OF_TRAINING = "structures_of_the_training"  # a count
WIDTH = 12  # of a column
WARNING = "errors on structures of the training are smaller than those on new ones"
COLUMNS = {  # of the tables: metric, title
    "structures": "structures",
    "atoms": "atoms",
    "energy_mae_meV_per_atom": "E MAE",
    "energy_rmse_meV_per_atom": "E RMSE",
    "relative_energy_mae_meV_per_atom": "relative MAE",
    "stress_mae_meV_per_A3": "stress MAE",
    "force_mae_meV_per_A": "F MAE",
    "force_rmse_meV_per_A": "F RMSE",
    "force_cosine": "F cosine",
}


@dataclass(frozen=True)
class FileErrors:
    """What the evaluation of a file found; metrics are in the units of their names."""

    counts: dict[str, int]  # of structures, atoms, labels, and energies of compositions that training did not determine
    set_aside: dict[str, int]  # numbers of structures by the reason why they were not predicted
    metrics: Metrics  # over all structures, of what there are labels of
    intervals: dict[str, tuple[float, float]]  # of the metrics: 95 %, by a bootstrap over structures
    by_element: dict[str, Metrics]  # of the forces
    by_config_type: dict[str, Metrics]
    by_group: dict[str, Metrics]
    by_training_distance: dict[str, Metrics]  # of quarters of the structures; see `TrainingDistance`


def described(result: FileErrors, structures: str) -> str:
    """The counts, the metrics with their intervals, and the tables. structures: the file's name."""
    lines = [f"{structures}: {said_counts(result.counts)}"]
    lines += [f"  set aside: {count}, because {reason}" for reason, count in result.set_aside.items()]
    if estimates := result.counts["structures_with_estimated_energy"]:
        lines.append(f"  {said_estimates(estimates)}")
    if result.counts[OF_TRAINING]:
        lines.append(f"  {WARNING}")
    for name, value in result.metrics.items():
        interval = result.intervals.get(name)
        lines.append(f"  {name:<34}{value:10.3f}" + ("   [{:.3f}, {:.3f}]".format(*interval) if interval else ""))
    tables = {
        title: getattr(result, f"by_{title}") for title in ("element", "config_type", "group", "training_distance")
    }
    for title, rows in tables.items():
        lines += table(title.replace("_", " "), rows)
    if any(tables.values()):
        lines += ["", "  E: energy, meV/atom; relative: without the mean error of each composition; F: forces, meV/Å"]
    return "\n".join(lines)


def said_counts(counts: Mapping[str, int]) -> str:
    """The counts that tell something: all structures and atoms, and others that are not zero."""
    shown = {name: count for name, count in counts.items() if count or name in ("structures", "atoms")}
    return ", ".join(f"{count} {name}".replace("_", " ") for name, count in shown.items())


def said_estimates(count: int) -> str:
    """What it means that total energies are estimates."""
    return (
        f"total energies of {count} structures may be off by eV per atom, relative energies not: "
        "the training did not determine those of their compositions"
    )


def table(title: str, rows: Mapping[str, Metrics]) -> list[str]:
    """Aligned lines, the rows with the largest numbers of structures or atoms first."""
    if not rows:
        return []
    columns = [name for name in COLUMNS if any(name in row for row in rows.values())]
    width = max(len(name) for name in (title, *rows)) + 2
    lines = ["", f"  {title:<{width}}" + "  ".join(f"{COLUMNS[name]:>{WIDTH}}" for name in columns)]
    order = sorted(rows, key=lambda name: -rows[name][columns[0]])
    for name in order[:SHOWN]:
        cells = (cell(rows[name].get(column), column) for column in columns)
        lines.append(f"  {name:<{width}}" + "  ".join(cells))
    if len(order) > SHOWN:
        lines.append(f"  and {len(order) - SHOWN} more")
    return lines


def cell(value: float | None, column: str) -> str:
    """A number of a table; counts have no decimals."""
    if value is None:
        return " " * WIDTH
    return f"{value:>{WIDTH}.0f}" if column in ("structures", "atoms") else f"{value:>{WIDTH}.3f}"
