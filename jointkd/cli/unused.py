"""Options that are given and have no effect beside the others."""

from collections.abc import Iterable, Iterator

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from jointkd.cli.arguments import option_name

OF_RUN = ("data.path", "data.source", "data.prepared", "label")  # where the data and labels of a run are now
OF_FILE = (  # of a file on which a student is evaluated
    *("output", "plot", "seed", "training", "hull"),
    *("data.energy_key", "data.forces_key", "data.units", "data.stress_key", "data.stress"),
    *("data.group_key", "data.format"),
)
OF_DYNAMICS = ("temperatures", "steps", "interval", "timestep", "friction")
OF_RATTLE = ("displacement", "relax")
DIVIDING = ("by", "train", "val", "test", "seed", "official_test")  # options of data.split


def describe_unused(config: DictConfig, given: Iterable[str]) -> list[str]:
    """A line for each option on the command line that this configuration does not use. given: `name=value`."""
    names = {option_name(word): word for word in given}
    return [
        f"{word} is not used with {reason}"
        for option, reason in unused(config)
        for name, word in names.items()
        if name == option or name.startswith(f"{option}.")
    ]


def unused(config: DictConfig) -> Iterator[tuple[str, str]]:
    """Options, or groups of them, that a configuration does not use, with what makes them so."""
    yield from unused_of_data(config)
    yield from unused_of_training(config)
    yield from unused_of_evaluation(config)
    yield from unused_of_sampling(config)
    yield from unused_of_dynamics(config)
    yield from unused_of_scan(config)
    yield from unused_of_spectrum(config)
    yield from unused_of_export(config)


def unused_of_data(config: DictConfig) -> Iterator[tuple[str, str]]:
    """Options of the data set that others of it overrule."""
    split = OmegaConf.select(config, "data.split")
    if isinstance(split, str):
        return
    if OmegaConf.select(config, "data.split.path") is not None:
        yield from (
            (f"data.split.{name}", "data.split.path, which says where each structure belongs") for name in DIVIDING
        )
    elif OmegaConf.select(config, "data.split.by") == "file":
        yield from ((f"data.split.{name}", "data.split.by=file") for name in DIVIDING[1:])
    if OmegaConf.select(config, "data.amin2025") is not None:
        yield "data.amin2025", "these shares: set data.split=amin2025"
    if "stress_key" in config.get("data", {}) and config.data.stress_key is None:
        yield "data.stress", "data.stress_key=null"
    elif OmegaConf.select(config, "data.stress.kind") == "virial":
        yield "data.stress.unit", "data.stress.kind=virial, which is in data.units.energy"
    if OmegaConf.select(config, "data.reference") == "teacher":
        yield "data.reference_energies", "data.reference=teacher"


def unused_of_training(config: DictConfig) -> Iterator[tuple[str, str]]:
    """Options of labels, terms and schedulers that nothing asks for."""
    if "method" not in config:
        return
    method, terms = f"method={config.method.name}", config.method.terms
    yield from ((f"weights.{name}", method) for name in config.weights if name not in terms)
    if "hessian" not in terms or not terms.hessian.weight:
        yield from ((option, method) for option in ("hessian", "method.rows"))
    completed = OmegaConf.select(config, "data.missing") == "teacher" or OmegaConf.select(config, "data.unlabelled")
    if config.method.name == "none" and not completed:
        yield "method.trust", method
    if "_target_" not in config.teacher:
        yield "label", "teacher=none"
    elif config.label.probes:
        yield "label.rows", f"label.probes={config.label.probes}, which training structures have instead"
    yield from (
        (f"schedulers.{name}", f"schedule={config.schedule}") for name in config.schedulers if name != config.schedule
    )


def unused_of_sampling(config: DictConfig) -> Iterator[tuple[str, str]]:
    """Options of `sample` that belong to the other way of making structures, or to a student."""
    if "how" not in config:
        return
    others = OF_DYNAMICS if config.how == "rattle" else OF_RATTLE
    yield from ((option, f"how={config.how}") for option in others)
    if config.rounds is not None:
        yield from ((option, f"rounds={config.rounds}, which take those of the run") for option in ("data", "teacher"))
    if config["with"] == "teacher":
        yield from ((option, "with=teacher") for option in ("device", "trust"))


def unused_of_evaluation(config: DictConfig) -> Iterator[tuple[str, str]]:
    """Options of `evaluate` that belong to the run's test split, or to other structures."""
    if not {"checkpoint", "structures"} <= set(config):
        return
    if config.structures is None:
        yield from ((option, "the run's own test split: give structures=FILE") for option in OF_FILE)
    else:
        needed = config.get("atomic_energies")  # aligned by what the run was trained on
        others = ("checkpoint",) if needed else ("checkpoint", *OF_RUN)
        yield from ((option, "structures=…, on which the student's file is evaluated") for option in others)


def unused_of_dynamics(config: DictConfig) -> Iterator[tuple[str, str]]:
    """Options of `simulate` and `accept` that others of them overrule."""
    if OmegaConf.select(config, "ensemble") == "nve":
        yield "friction", "ensemble=nve"
    if OmegaConf.select(config, "sample") is not None:
        yield "index", "sample=…, which draws structures at random"
    if "save" in config and not instantiate(config, _convert_="all").several:
        yield "save", "one structure: only simulations of several are saved as they run"
    if "against_teacher" in config:
        if config.structures is not None:
            yield "data", "structures=…, which is read instead of the run's data"
        if "teacher" in config and "_target_" not in config.teacher:
            yield "against_teacher", "teacher=none"


def unused_of_scan(config: DictConfig) -> Iterator[tuple[str, str]]:
    """Options of `scan` that belong to a relaxation, to a scan, or to slices."""
    if "slices" not in config:
        return
    relaxation = ("minimizer", "fmax", "max_steps")
    if config.slices is not None:
        yield from ((name, "slices, whose structures are taken as they are") for name in (*relaxation, "relax"))
        yield from ((name, "slices, which have structures and angles of their own") for name in ("index", "steps"))
        return
    yield "planes", "structure=…: they are those of slices"
    if not config.relax:
        yield from ((name, "relax=false") for name in relaxation)
    if config.reference is None or str(config.reference).endswith(".csv"):
        yield "energy_key", "energies of a table, or with none"


def unused_of_spectrum(config: DictConfig) -> Iterator[tuple[str, str]]:
    """Options of `spectrum` that belong to other paths."""
    own = {"turns": ("dihedral",), "translations": ("atom", "vector"), "lines": ("length",)}
    if "along" in config:
        yield from (
            (name, f"along={config.along}") for kind, names in own.items() if kind != config.along for name in names
        )


def unused_of_export(config: DictConfig) -> Iterator[tuple[str, str]]:
    """Options of `export` without a package, or without a repository."""
    if OmegaConf.select(config, "to") == "none":
        yield from ((option, "to=none") for option in ("device", "dtype"))
    if "hub" in config and config.hub is None:
        yield "private", "hub=null"
