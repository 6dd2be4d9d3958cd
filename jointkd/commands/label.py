"""Make the labels of a teacher for a data set, or look after those that are there."""

import logging
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from jointkd.commands.build import build, data_options, label_place, label_plan, say_how_good
from jointkd.data.datamodule import DistillationData
from jointkd.errors import ConfigError, CorruptShard
from jointkd.labelling.formats import format_rate
from jointkd.labelling.jobs import estimate, make_labels
from jointkd.labelling.plan import LabelPlace, LabelPlan
from jointkd.labels.checks import describe_failures
from jointkd.labels.maintenance import damaged_shards, merge, set_aside, status, summary
from jointkd.labels.store import LabelStore
from jointkd.progress import format_time
from jointkd.ranges import check_integer

log = logging.getLogger(__name__)


def run(config: DictConfig) -> None:
    """Make the labels of a configuration; or verify, merge, count or estimate them, where the options ask for that."""
    options = config.label
    asked = [f"label.{name}" for name in ("verify", "merge", "status", "dry_run") if options[name]]
    if len(asked) > 1:
        raise ConfigError(f"{' and '.join(asked)} exclude each other", "give one of them")
    if options.verify:
        for path in label_place(config).directories():
            verify(path)
    elif options.merge is not None:
        merge_from(Path(options.merge), label_place(config))
    elif options.status:
        log.info("%s", status_line(label_plan(config, DistillationData(data_options(config)))))
    elif options.dry_run:
        log.info("%s", estimate(label_plan(config, data_of(config))))
    else:
        label(config)


def label(config: DictConfig) -> LabelStore:
    """The labels that training with the same configuration would need, made where they are missing."""
    check_integer("label.workers", config.label.workers)
    data = data_of(config)
    store = make_labels(label_plan(config, data), workers=config.label.workers, retry=True)
    log.info("%s", summary(store))
    say_how_good(data, store)
    return store


def data_of(config: DictConfig) -> DistillationData:
    """The data of a configuration, whose student is built to refuse what training would refuse."""
    label_place(config)  # refuses its options before the data are read
    return build(config, Path(HydraConfig.get().runtime.output_dir))[1]


def verify(path: Path) -> None:
    """Log that a directory of labels is whole, or set its damaged files aside and raise CorruptShard."""
    damaged = damaged_shards(path)
    if damaged:
        folder = set_aside(path, list(damaged))
        names = ", ".join(f"{shard.name} ({reason})" for shard, reason in damaged.items())
        raise CorruptShard(
            f"{len(damaged)} files of labels in {path} were damaged and are now in {folder}: {names}",
            "run the same command without label.verify to make their labels again",
        )
    store = LabelStore.open(path)
    log.info("%d files with %d structures are whole: %s", len(store.shards()), len(store), path)


def merge_from(other_path: Path, place: LabelPlace) -> None:
    """Copy the labels of another directory. Raises LabelMismatch, CorruptShard, StorageError."""
    other = LabelStore.open(other_path)
    other.check(place.expected)
    store = LabelStore.create(next(place.candidates()), other.teacher, other.settings)
    gained = merge(store, other)
    log.info("%d structures came from %s; %d are labelled now: %s", gained, other.path, len(store), store.path)


def status_line(plan: LabelPlan) -> str:
    """How far the labels of a plan are, in a line; the teacher is not built."""
    store = plan.open_store()
    if store is None:
        return f"no labels yet: 0 done, {len(plan.frames)} left, 0 failed: {plan.path}"
    found = status(store, plan.frames)
    parts = [f"{found.done} done", f"{found.left} left"]
    parts.append(
        f"{len(found.failed)} failed" + (f" ({describe_failures(found.failed.values())})" if found.failed else "")
    )
    if found.rate is not None:
        parts.append(format_rate(found.rate))
        if found.left:
            parts.append(f"{format_time(found.left / found.rate)} at that rate")
    if found.since is not None:
        parts.append(f"the last were written {format_time(found.since)} ago")
    return f"labels of {store.teacher.name}: {', '.join(parts)}: {store.path}"
