"""A saved view of the runs of a project in Weights & Biases: pip install wandb-workspaces; wandb login;

python examples/wandb_workspace.py ENTITY [PROJECT]     entity: a user or team; project: jointkd unless given

The sections are train, val, perf and test; in test the mean errors of each method are bars. Each call makes a new view.
"""

import argparse
import sys

try:
    import wandb_workspaces.reports.v2 as panels
    import wandb_workspaces.workspaces as workspaces
except ModuleNotFoundError:
    sys.exit("this needs wandb-workspaces; pip install wandb-workspaces")

from jointkd.evaluation.metrics import METRICS

STEP = "trainer/global_step"  # of the optimiser
TERMS = ("energy", "forces", "stress", "atomic_energy", "hessian")
TRAIN = ("loss", *TERMS, "learning_rate", "gradient_norm")
PERF = ("structures_per_s", "memory_MB")
METHOD = panels.Config("method.name")


def curves(section: str, names: tuple[str, ...], logarithmic: bool) -> list[panels.LinePlot]:
    """A line plot of each quantity over the steps."""
    keys = [f"{section}/{name}" for name in names]
    return [panels.LinePlot(title=key, x=STEP, y=[key], log_y=logarithmic) for key in keys]


def bars(key: str) -> panels.BarPlot:
    """The final value of a quantity: the mean over the runs of each method, and its range."""
    return panels.BarPlot(
        title=key, metrics=[key], groupby=METHOD, groupby_aggfunc="mean", groupby_rangefunc="minmax", orientation="v"
    )


def workspace(entity: str, project: str) -> workspaces.Workspace:
    """The view, not yet saved."""
    weights = panels.LinePlot(title="weights of the terms", x=STEP, y=[f"train/weight_{name}" for name in TERMS])
    contents = {
        "train": [*curves("train", TRAIN, logarithmic=True), weights],
        "val": curves("val", tuple(METRICS), logarithmic=True),
        "perf": curves("perf", PERF, logarithmic=False),
        "test": [*(bars(f"test/{name}") for name in METRICS), panels.MediaBrowser(media_keys=["test/parity"])],
    }
    sections = [workspaces.Section(name=name, panels=shown, is_open=True) for name, shown in contents.items()]
    return workspaces.Workspace(entity=entity, project=project, name="jointkd", sections=sections)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("entity")
    parser.add_argument("project", nargs="?", default="jointkd")
    options = parser.parse_args()
    workspace(options.entity, options.project).save()
