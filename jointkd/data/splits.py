"""Division of a data set into training, validation and test splits, by content: the same on every machine."""

import hashlib
import json
import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from jointkd.errors import ConfigError, DataError
from jointkd.files.run_files import SPLIT
from jointkd.structures.columns import groups_of, keys_of
from jointkd.structures.frame import Frame

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
LEFT_OUT = "left out"


@dataclass(frozen=True)
class Split:
    """How structures are divided.

    by: `file` (the data file assigns each structure to a split), `frame` (structures are assigned one by one), or
    `group` (structures of a group stay together). train, val, test, for `frame` and `group`: shares that sum to one.
    Above one they are numbers of structures, while others stay shares of the whole, and structures may be left over;
    validation and test do not depend on the number of training structures, and fewer of these are some of the same.
    seed: another seed gives another division. official_test: the test split is the one that the source defines, and
    `train` and `val` are parts of the rest. path: a `split.json` of an earlier run, which overrides all other options.
    """

    by: str = "frame"
    train: float = 0.8
    val: float = 0.1
    test: float = 0.1
    seed: int = 0
    official_test: bool = False
    path: str | None = None

    def check(self) -> None:
        """Raise ConfigError for options that divide no structures at all."""
        if self.path is not None or self.by == "file":
            return
        if self.by not in ("frame", "group"):
            raise ConfigError(f"data.split.by={self.by!r} is not known", "choose file, frame or group")
        if self._are_shares:
            self._check_shares()

    def indices(self, frames: Sequence[Frame]) -> dict[str, list[int]]:
        """The indices of the frames of each split, in ascending order.

        Raises DataError for an empty split, for a frame without a group where groups are to stay together, and for a
        saved split that does not fit the frames; ConfigError for impossible shares.
        """
        self.check()
        if self.path is not None:
            assigned = self._by_saved_split(frames)
        elif self.by == "file":
            assigned = [frame.split or "missing" for frame in frames]
            for name, count in Counter(assigned).items():
                if name not in SPLITS:
                    log.warning(
                        "left out %d structures: their split in the file is %s, not train, val or test", count, name
                    )
        else:
            assigned = self._by_hash(frames)
        parts = {split: [index for index, name in enumerate(assigned) if name == split] for split in SPLITS}
        remedy = "set data.split_key" if self.by == "file" else "give more structures or groups, or other shares"
        for split, part in parts.items():
            if not part:
                raise DataError(
                    f"the {split} split is empty ({len(frames)} structures, data.split.by={self.by})", remedy
                )
        return parts

    def _by_hash(self, frames: Sequence[Frame]) -> list[str]:
        """The split of each frame; groups, or single frames, are ordered by a seeded hash and divided by the shares."""
        assigned = ["test"] * len(frames)
        groups: dict[str, list[int]] = defaultdict(list)
        names = groups_of(frames) if self.by == "group" else keys_of(frames)
        for index, name in enumerate(names):
            if self.official_test and frames[index].split == "test":
                continue
            if not name:
                raise DataError(
                    f"data.split.by=group, but {frames[index].source} has no group", "set data.group_key, or by=frame"
                )
            groups[name].append(index)
        divided = sum(map(len, groups.values()))
        if self.official_test and divided == len(frames):
            raise DataError(
                "data.split.official_test=true, but the source has no test split",
                "set it to false and give three shares",
            )
        order = sorted(groups, key=lambda name: hashlib.sha256(f"{self.seed}:{name}".encode()).digest())
        train_end, val_start, test_start = self._bounds(divided)
        count = 0
        for group in order:
            middle = count + len(groups[group]) / 2
            split = "train" if middle < train_end else "test" if middle >= test_start else "val"
            for index in groups[group]:
                assigned[index] = LEFT_OUT if train_end <= middle < val_start else split
            count += len(groups[group])
        if left := assigned.count(LEFT_OUT):
            log.info("left out %d structures, as data.split.train, val and test say", left)
        return assigned

    def _bounds(self, structures: int) -> tuple[float, float, float]:
        """Where training ends, validation and test begin, in the order of the hashes. Raises ConfigError."""
        sizes = (self.train, self.val, self.test)
        if self._are_shares:
            return self.train * structures, self.train * structures, (self.train + self.val) * structures
        train, val, test = (size if size > 1 else size * structures for size in sizes)
        fits = train > 0 and val > 0 and (test > 0) != self.official_test and train + val + test <= structures + 1e-6
        if not fits:
            raise ConfigError(
                f"data.split.train, val and test are {sizes}, and there are {structures} structures to divide",
                "give smaller positive numbers of structures, or shares up to 1"
                + (", and test=0 with data.split.official_test=true" if self.official_test else ""),
            )
        return train, structures - test - val, structures - test

    @property
    def _are_shares(self) -> bool:
        """Whether the sizes of the splits are shares, rather than some of them numbers of structures."""
        sizes = (self.train, self.val, self.test)
        return max(sizes) <= 1 or any(size > 1 and not float(size).is_integer() for size in sizes)

    def _check_shares(self) -> None:
        shares = (self.train, self.val, self.test)
        if not abs(sum(shares) - 1) <= 1e-6 or min(shares[:2]) <= 0 or (self.test <= 0) != self.official_test:
            raise ConfigError(
                f"data.split.train, val and test must be shares of the whole, not {shares}",
                "with data.split.official_test=true, train and val sum to 1 and test is 0"
                if self.official_test
                else "give three positive shares that sum to 1, or numbers of structures",
            )

    def saved(self) -> dict[str, str]:
        """The split of each structure, by key, in the file that `path` names; {} without one. Raises DataError."""
        if self.path is None:
            return {}
        path = Path(self.path).expanduser()
        try:
            if not path.is_file():
                raise OSError("it is not a file")
            stored = json.loads(path.read_text(encoding="utf-8"))["keys"]
            stored = {LEFT_OUT: [], **stored}
            splits = {key: split for split in (*SPLITS, LEFT_OUT) for key in stored[split]}
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(
                f"data.split.path={path} must be a saved split ({error})", f"give the {SPLIT} of a run"
            ) from error
        if sum(map(len, stored.values())) != len(splits):
            raise DataError(f"data.split.path={path} names a structure twice", f"give the {SPLIT} of a run")
        return splits

    def _by_saved_split(self, frames: Sequence[Frame]) -> list[str]:
        """The split of each frame as an earlier run saved it."""
        path, splits = self.path, self.saved()
        names = keys_of(frames)
        present = set(names)
        for keys, problem in (
            (present - splits.keys(), f"structures of the data are not in data.split.path={path}"),
            (splits.keys() - present, f"structures of data.split.path={path} are not in the data"),
        ):
            if keys:
                raise DataError(
                    f"{len(keys)} of {len(present | splits.keys())} {problem} (such as {min(keys)})",
                    "give the data for which it was saved, or leave data.split.path out to divide the data anew",
                )
        return [splits[name] for name in names]


def save(split: Split, keys: Mapping[str, Sequence[str]], path: Path, left_out: Sequence[str] = ()) -> None:
    """Write the content keys of each split, the options of the division, and a hash of each split."""
    stored = {name: list(part) for name, part in keys.items()}
    if left_out:
        stored[LEFT_OUT] = list(left_out)
    content = {**asdict(split), "sha256": hashes(keys), "keys": stored}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def hashes(keys: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """A hash of the content keys of each split, independent of their order."""
    return {split: hashlib.sha256("".join(sorted(part)).encode()).hexdigest() for split, part in keys.items()}


def shared_groups(parts: Mapping[str, Sequence[Frame]]) -> dict[str, float]:
    """The share of the groups (molecules, materials) of validation and test that also occur in training."""
    groups = {split: {*groups_of(part)} - {""} for split, part in parts.items()}
    return {split: len(groups[split] & groups["train"]) / len(groups[split]) for split in SPLITS[1:] if groups[split]}
