"""New structures from the training split of a configuration, which its teacher judges."""

from omegaconf import DictConfig

from jointkd.commands.build import data_options, teacher_here
from jointkd.data.datamodule import DistillationData
from jointkd.data.options import DataOptions
from jointkd.errors import ConfigError
from jointkd.runtime import keep_freed_memory
from jointkd.sampling.options import SamplingOptions
from jointkd.sampling.sample import Sampled, sample


def make_structures(config: DictConfig, options: SamplingOptions) -> Sampled:
    """Sample from the structures that training with the same data and teacher would use. Raises UserErrors."""
    teacher = teacher_here(config)
    if teacher is None:
        raise ConfigError("teacher=none judges no structures", "choose a teacher with teacher=…")
    keep_freed_memory()
    data = DistillationData(data_options(config))
    return sample(options, data.frames["train"], teacher, entries_of(data.options), data.options.max_force)


def entries_of(data: DataOptions) -> dict[str, str]:
    """The entries by which new structures are read like their parents: for training, in the same group."""
    keys = {getattr(data, "group_key", None): "group", getattr(data, "split_key", None): "train"}
    return {key: value for key, value in keys.items() if key is not None}
