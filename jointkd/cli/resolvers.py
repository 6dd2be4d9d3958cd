"""The functions that configuration files may call, as `${run_folder:…}`."""

from pathlib import Path

from omegaconf import OmegaConf

from jointkd.cli.config_tree import PACKAGE, list_groups
from jointkd.errors import ConfigError
from jointkd.files.folders import claim_folder


def register() -> None:
    """Register the functions with OmegaConf; may be called more than once."""
    OmegaConf.register_new_resolver("refuse", refuse, replace=True)
    OmegaConf.register_new_resolver("package_file", package_file, replace=True)
    OmegaConf.register_new_resolver("file_stem", file_stem, replace=True)
    OmegaConf.register_new_resolver("run_folder", run_folder, replace=True, use_cache=True)
    OmegaConf.register_new_resolver("epochs", epochs, replace=True)
    OmegaConf.register_new_resolver("groups", list_groups, replace=True)


def run_folder(parent: str, ckpt_path: str | None) -> str:
    """The name of a run's folder in `parent`: a new one, which no other command gets; see `claim_folder`.

    With ckpt_path=last it is the folder of the newest run that has a checkpoint, if there is one, else a new folder.
    """
    if ckpt_path == "last":
        checkpoints = sorted(Path(parent).glob("*/checkpoints/last*.ckpt"), key=lambda path: path.stat().st_mtime)
        if checkpoints:
            return checkpoints[-1].parent.parent.name
    return claim_folder(Path(parent))


def refuse(problem: str, remedy: str) -> None:
    """Raise ConfigError; used in a configuration for a value that the user must choose."""
    raise ConfigError(problem, remedy)


def epochs(steps: int, structures: float, batch_size: int, parts: int) -> int:
    """How many whole epochs of so many structures the steps have, divided into so many parts; at least one."""
    if structures <= 1:
        raise ConfigError(
            f"data.split.train={structures} must be a number of structures in this experiment", "give 2 or more"
        )
    return max(1, int(steps // -(-structures // batch_size)) // parts)


def package_file(name: str) -> str:
    """The path of a file in the package."""
    return str(PACKAGE / name)


def file_stem(*paths: str | None) -> str:
    """The name of the first file that is given, up to its first dot."""
    return Path(next(filter(None, paths), "")).name.split(".")[0]
