"""Options that are written with dashes are refused with how they are written here."""

import pytest

from jointkd.cli.command import printed
from jointkd.errors import ConfigError


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (["--student=painn"], "--student=painn is not a flag; write options without dashes, as student=painn"),
        (["--student", "painn"], "as student=painn"),
        (["-student", "painn", "seed=3"], "-student is not a flag; .* as student=painn"),
        (["--batch-size", "8"], "as data.batch_size=8"),
        (["--epochs=10", "-m"], "as trainer.max_epochs=10"),
        (["--overwrite"], "as overwrite=…"),
        (["--overwrite", "seed=3"], "as overwrite=…"),
        (["--weights.forces=3"], "as weights.forces=3"),
        (["--config", "my.yaml"], "ambiguous option: --config .* options are written without dashes"),
    ],
)
def test_an_option_with_dashes_is_refused(arguments, remedy):
    with pytest.raises(ConfigError, match=remedy):
        printed("train", arguments)


@pytest.mark.parametrize("flags", [["--cfg", "job"], ["--multirun"], ["-cn", "train"], ["--info=config"]])
def test_flags_of_hydra_are_taken(flags):
    assert printed("train", [*flags, "seed=3"] if flags != ["--cfg", "job"] else flags) is None
