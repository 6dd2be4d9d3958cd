"""The source of a data set and its use in training as plain values: the options `data.…` of every command."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from jointkd.data.provenance import Reader, SubsetRule
from jointkd.data.readers import extxyz
from jointkd.data.readers.stress import StressForm
from jointkd.data.splits import Split
from jointkd.errors import ConfigError
from jointkd.ranges import check_integer, check_number, check_seed


@dataclass(frozen=True, kw_only=True)
class DataOptions(ABC):
    """The options of every data set; a subclass adds the source of the structures. Raises ConfigError."""

    name: str  # in folders, tables and messages
    split: Split | str = field(default_factory=Split)  # division into training, validation and test
    reference: str = "data"  # `data`: reference energies and forces come from the file; `teacher`: from the teacher
    missing: str = "refuse"  # frames without energy or forces: `refuse`, or take what they lack from the `teacher`
    unlabelled: str | list[str] | None = None  # files of structures (Å) for training only, with the teacher's labels
    # eV by chemical symbol; `fit`: least squares on the training split; None: isolated atoms of the file, else the fit
    reference_energies: dict[str, float] | str | None = None
    max_force: float = 50.0  # eV/Å; structures with a larger force component are quarantined
    batch_size: int = 4  # structures per step, over all ranks
    workers: int = 0  # processes that load batches
    seed: int = 0  # of the order of batches and the choice of Hessian rows
    subset: SubsetRule | None = None  # selects some of the structures; None: all
    expected_size: int | None = None  # number of structures according to a paper
    prepared: str | None = None  # the folder of all prepared sets, or one prepared set; None: a temporary folder
    report: bool = False  # write a report on the data beside the run

    def __post_init__(self) -> None:
        if not isinstance(self.division, Split):
            raise ConfigError(f"data.split={self.split} is not known", "give data.split.by=…, or data.split.path=FILE")
        if not (self.subset is None or callable(self.subset)):
            raise ConfigError(
                f"data.subset={self.subset} must be a rule", "give data.subset.contains_element=… or another rule"
            )
        if self.reference not in ("data", "teacher"):
            raise ConfigError(f"data.reference={self.reference!r} is not known", "choose data or teacher")
        if self.missing not in ("refuse", "teacher"):
            raise ConfigError(f"data.missing={self.missing!r} is not known", "choose refuse or teacher")
        if self.missing == self.reference == "teacher":
            raise ConfigError(
                "data.missing=teacher completes reference labels, and data.reference=teacher takes none",
                "give one of them",
            )
        if any(not isinstance(path, str) or not path for path in self.added_files):
            raise ConfigError(
                f"data.unlabelled={self.unlabelled} must be a file, or a list of files", "give the path of a file"
            )
        check_number("data.max_force", self.max_force, "eV/Å", infinite=True)
        check_integer("data.batch_size", self.batch_size)
        check_integer("data.workers", self.workers, least=0)
        check_seed("data.seed", self.seed)

    @property
    def division(self) -> Split:
        """The split to use, which a subclass may derive from other options."""
        return self.split  # type: ignore[return-value]  # checked above

    @property
    def added_files(self) -> list[str]:
        """The files of `unlabelled`."""
        return self.unlabelled if isinstance(self.unlabelled, list) else [self.unlabelled] if self.unlabelled else []

    @property
    def completes(self) -> bool:
        """Whether training structures take what they lack of reference labels from the teacher."""
        return self.reference == "data" and (self.missing == "teacher" or bool(self.added_files))

    @property
    def rules(self) -> SubsetRule | None:
        """The subset to use, which a subclass may derive from other options."""
        return self.subset

    @abstractmethod
    def reader(self) -> Reader:
        """A function that, called without arguments, returns frames and free-atom energies (eV by atomic number).

        The name of a prepared set depends on the function and its arguments, so it must be a function of a module, or a
        `functools.partial` of one.
        """


@dataclass(frozen=True, kw_only=True)
class FileData(DataOptions):
    """Structures of files that ASE reads; see `jointkd.data.readers.extxyz.read` for keys and units."""

    path: str | None = None  # a file, a folder, or a pattern with *
    train: str | None = None  # instead of path: a file, folder or pattern for each split; without val, validation
    val: str | None = None  # structures are taken from those for training
    test: str | None = None
    energy_key: str | None = "energy"  # None for a file without energies
    forces_key: str | None = "forces"
    units: dict[str, str] | None = None  # of energy and length; None: eV and Å
    stress_key: str | None = None  # of periodic structures; None for a file without stresses
    stress: dict[str, Any] | None = None  # kind, positive, order and unit of what stress_key names; see `StressForm`
    group_key: str | None = None  # the entry with the molecule or material; `file`: the name of the file
    split_key: str | None = None  # the entry with train, val or test
    format: str | None = None  # ASE's name of the format, for files whose name does not tell it

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_files()
        chosen = [f"data.{name}=teacher" for name in ("reference", "missing") if getattr(self, name) == "teacher"]
        chosen += ["data.unlabelled"] if self.added_files else []
        if self.stress_form is not None and chosen:
            raise ConfigError(
                f"data.stress_key={self.stress_key} is not used with {chosen[0]}",
                "leave out data.stress_key: the labels of teachers have no stress",
            )
        split = self.division
        if self.split_key is not None and split.by != "file" and not split.official_test and split.path is None:
            raise ConfigError(
                f"data.split_key={self.split_key} is not used with data.split.by={split.by}",
                "set data.split.by=file, so that the structures are divided as the file says, or data.split_key=null",
            )

    def _check_files(self) -> None:
        """Raises ConfigError unless there is one file, or one for each of the splits that need one."""
        files = {name: getattr(self, name) for name in ("train", "val", "test") if getattr(self, name) is not None}
        if not files:
            if self.path is None:
                raise ConfigError("data.path is not set", "give data.path=FILE, or data.train, data.val and data.test")
            return
        named = " ".join(f"data.{name}={path}" for name, path in files.items())
        if self.path is not None or self.split_key is not None:
            other = f"data.path={self.path}" if self.path is not None else f"data.split_key={self.split_key}"
            raise ConfigError(f"{named} and {other} say two things of the division", "give one of them")
        if self.train is None or self.test is None:
            raise ConfigError(
                f"{named}: there is no file to {'train on' if self.train is None else 'test on'}",
                "give data.train and data.test, and data.val unless validation structures come from data.train",
            )

    @property
    def division(self) -> Split:
        """The split by files where there is one for each, else that of `split`."""
        given = super().division
        if self.train is None or not isinstance(given, Split) or given.path is not None:
            return given
        if self.val is not None:
            return replace(given, by="file")
        share = given.val if given.val > 1 else given.val / (given.train + given.val)
        train = given.train if max(given.train, given.val) > 1 else 1 - share
        return replace(given, train=train, val=share, test=0.0, official_test=True)

    @property
    def stress_form(self) -> StressForm | None:
        """How the files give stresses; None where they are not read. Raises ConfigError."""
        if self.stress_key is None:
            return None
        return StressForm.of(self.stress_key, self.stress or {}, (self.units or {}).get("energy", "eV"))

    def reader(self) -> Reader:
        options = (self.energy_key, self.forces_key, self.units, self.group_key, self.split_key, self.format)
        more: dict[str, Any] = {} if self.stress_form is None else {"stress": self.stress_form}
        if self.missing == "teacher":
            more["labels_required"] = False
        if self.train is not None and self.test is not None:
            return partial(extxyz.read_splits, self.train, self.val, self.test, *options, **more)
        return partial(extxyz.read, self.path, *options, **more)


@dataclass(frozen=True, kw_only=True)
class ReaderData(DataOptions):
    """Structures that a function returns, for example from a script's memory."""

    read: Reader  # returns frames and free-atom energies (eV by atomic number)

    def reader(self) -> Reader:
        return self.read
