"""What each difference from the paper and the prior art does to small students of the example: docs/differences.md.

    python -m tests.benchmarks.differences outputs/differences --seeds 5

A case is a list of options and, where there is no option, a change made to the program in that run alone. Each is
compared with another case, seed by seed. Finished runs are not made again. Needs the extras mace and demo.
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tests.benchmarks import prior_art
from tests.benchmarks.strained import write_strained

METRICS = {
    "energy_mae_meV_per_atom": "energy, meV/atom",
    "force_mae_meV_per_A": "force, meV/Å",
    "hessian_row_mae_eV_per_A2": "row, eV/Å²",
}
DIGITS = {"energy_mae_meV_per_atom": 2, "force_mae_meV_per_A": 1, "hessian_row_mae_eV_per_A2": 4}
T95 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36}  # Student's t by seeds, two-sided 95 %


class Case(NamedTuple):
    """against: the case it is compared with; change: what is made otherwise in this run's process."""

    against: str | None = None
    options: tuple[str, ...] = ()
    change: Callable[[], None] | None = None


SMALL = ("student.width=32", "student.layers=2", "trainer.max_epochs=60")
HEAD = ("student.conservative=false", "student.repulsion=false")
WIDER = ("student.cutoff=6",)
GEMNET = (
    *("student=gemnet_dt", "student.width=16", "student.blocks=2", "student.cutoff=4.5", "trainer.max_epochs=60"),
    *("data.batch_size=4", "data.reference_energies=fit", "weights.energy=20", "weights.forces=100"),
    *("weights.atomic_energy=100", "weights.hessian=100", "label.rows=24", "label.eval_rows=2", "schedule=cosine"),
    *("optimizer.lr=4e-3", "callbacks.ema.decay=0.99", "trainer.check_val_every_n_epoch=10"),
)
POOLED = (  # all 198 frames divided anew, by another seed in every run; 99 train, 20 val, 79 test
    *("data.split.train=0.5", "data.split.val=0.1", "data.split.test=0.4", "data.split.seed=${seed}"),
    *("trainer.max_epochs=24", "trainer.check_val_every_n_epoch=8", "label.eval_rows=24"),
    "label.path=${folder}/pooled",
)
STRAINED = ("data.path=${folder}/strained.xyz", "data.max_force=inf")
HALVING = (
    "label.validation=true",
    "+callbacks.halving._target_=jointkd.training.callbacks.near_teacher.HalveNearTeacher",
)

CASES = {
    "default": Case(),
    "smooth=false": Case("default", ("student.smooth=false",)),
    "forces over their RMS": Case("default", ("weights.forces=97.65", "weights.hessian=97.65")),  # 1.024 eV/Å
    "halving at 400 %": Case("default", (*HALVING, "+callbacks.halving.within=4")),
    "limit 50": Case("default", ("hessian.limit=50",)),
    "rows anew": Case("default", (), prior_art.rows_anew),
    "rows fixed": Case("default", ("method.rows=fixed",)),
    "torch's layer norm": Case("default", (), prior_art.torch_layer_norm),
    "columns": Case("default", (), prior_art.one_sided_differences),
    "cutoff 6": Case(None, WIDER),
    "cutoff 6, cap 11": Case("cutoff 6", (*WIDER, "student.max_neighbors=11")),
    "by composition": Case(None, (*POOLED, "data.split.by=group", "data.group_key=config_type")),
    "by trajectory": Case("by composition", (*POOLED, "data.split.by=group")),
    "by frame": Case("by composition", (*POOLED, "data.split.by=frame")),
    "strained, used": Case("default", STRAINED),
    "head, joint": Case(None, HEAD),
    "head, joint, columns": Case("head, joint", HEAD, prior_art.one_sided_differences),
    "head, hessian": Case(None, (*HEAD, "method=hessian")),
    "head, hessian, gradient": Case("head, hessian", (*HEAD, "method=hessian"), prior_art.gradient_term),
    "GemNet-dT": Case(None, GEMNET),
    "GemNet-dT, factors of one": Case("GemNet-dT", GEMNET, prior_art.no_scale_factors),
}


def train(case: Case, folder: Path, run: Path, seed: int) -> None:
    """One run in this process."""
    from jointkd import train as command

    if case.change is not None:
        case.change()
    small = () if "student=gemnet_dt" in case.options else SMALL
    options = [*small, f"label.path={folder}/own", *case.options, f"hydra.run.dir={run}", f"seed={seed}"]
    sys.argv = ["train.py", f"data.prepared={folder}/data", *(o.replace("${folder}", str(folder)) for o in options)]
    command.main()


def place(folder: Path, name: str, seed: int) -> Path:
    return folder / "runs" / re.sub(r"\W+", "_", f"{name} {seed}")


def errors(folder: Path, name: str) -> dict[int, dict[str, float]]:
    """Test errors of a case by seed."""
    summaries = {seed: place(folder, name, seed) / "summary.json" for seed in range(max(T95))}
    return {seed: json.loads(file.read_text())["test"] for seed, file in summaries.items() if file.exists()}


def table(folder: Path) -> str:
    """Errors as mean ± standard deviation over seeds; and the mean change with its 95 % interval, bold where clear."""
    titles = ["case", "against", "seeds", *METRICS.values()]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for name, case in CASES.items():
        own = errors(folder, name)
        other = errors(folder, case.against) if case.against else {}
        cells = [cell(own, other, metric) for metric in METRICS] if len(own) > 1 else ["–"] * len(METRICS)
        lines.append(f"| {name} | {case.against or '–'} | {len(own)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(own: dict[int, dict[str, float]], other: dict[int, dict[str, float]], metric: str) -> str:
    digits = DIGITS[metric]
    values = np.array([found[metric] for found in own.values()])
    text = f"{values.mean():.{digits}f} ± {values.std(ddof=1):.{digits}f}"
    changes = np.array([own[seed][metric] - other[seed][metric] for seed in own if seed in other])
    if len(changes) < 2:
        return text
    half = T95[len(changes)] * changes.std(ddof=1) / np.sqrt(len(changes))
    change = f"{changes.mean():+.{digits}f} ± {half:.{digits}f}"
    return f"{text}, **{change}**" if abs(changes.mean()) > half else f"{text}, {change}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--one", nargs=2, metavar=("CASE", "SEED"), help="one run, in this process")
    given = parser.parse_args()
    folder = given.directory.absolute()
    if given.one:
        name, seed = given.one
        train(CASES[name], folder, place(folder, name, int(seed)), int(seed))
        return
    if not (folder / "strained.xyz").exists():
        write_strained(folder / "strained.xyz")
    for seed in range(given.seeds):
        for name in CASES:
            if not (place(folder, name, seed) / "summary.json").exists():
                one = [sys.executable, "-m", "tests.benchmarks.differences", str(folder), "--one", name, str(seed)]
                subprocess.run(one, check=True, stdout=subprocess.DEVNULL)
    print(table(folder))


if __name__ == "__main__":
    main()
