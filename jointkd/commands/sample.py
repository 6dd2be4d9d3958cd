"""Make new structures from a training split, for a teacher to label; once, or in rounds with training between."""

from dataclasses import fields

from omegaconf import DictConfig

from jointkd.commands.build import plain
from jointkd.commands.new_structures import make_structures
from jointkd.commands.rounds import Rounds
from jointkd.sampling.options import SamplingOptions


def run(config: DictConfig) -> None:
    """Sample with a teacher or a student, or in rounds, in each of which the last student samples."""
    given = {field.name: plain(config.get(field.name)) for field in fields(SamplingOptions)}
    temperatures = given["temperatures"] if isinstance(given["temperatures"], list) else [given["temperatures"]]
    given |= {"mover": str(config["with"]), "temperatures": temperatures}
    if config.rounds is None:
        make_structures(config, SamplingOptions(**given))
    else:
        Rounds.of(config.rounds, given).run()
