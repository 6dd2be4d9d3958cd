"""Make new structures from a training split, for a teacher to label."""

from dataclasses import fields

from omegaconf import DictConfig

from jointkd.commands.build import data_options, plain, teacher_here
from jointkd.data.datamodule import DistillationData
from jointkd.data.options import DataOptions
from jointkd.errors import ConfigError
from jointkd.runtime import keep_freed_memory
from jointkd.sampling.options import SamplingOptions
from jointkd.sampling.sample import sample


def run(config: DictConfig) -> None:
    """Sample with a teacher or a student from the structures that training with the same data would use."""
    given = {field.name: plain(config.get(field.name)) for field in fields(SamplingOptions)}
    temperatures = given["temperatures"] if isinstance(given["temperatures"], list) else [given["temperatures"]]
    options = SamplingOptions(**{**given, "mover": str(config["with"]), "temperatures": temperatures})
    teacher = teacher_here(config)
    if teacher is None:
        raise ConfigError("teacher=none judges no structures", "choose a teacher with teacher=…")
    keep_freed_memory()
    data = DistillationData(data_options(config))
    sample(options, data.frames["train"], teacher, entries_of(data.options), data.options.max_force)


def entries_of(data: DataOptions) -> dict[str, str]:
    """The entries by which new structures are read like their parents: for training, in the same group."""
    keys = {getattr(data, "group_key", None): "group", getattr(data, "split_key", None): "train"}
    return {key: value for key, value in keys.items() if key is not None}
