"""Which structure is for training, validation and test: by content, the same on every machine."""

import hashlib
import json
import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from jointkd.errors import ConfigError, DataError
from jointkd.structures.frame import Frame

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
FILE = "split.json"


@dataclass(frozen=True)
class Split:
    """How frames are divided.

    by: `file` (each frame says it itself), `frame` (each on its own), or `group` (groups stay together).
    train, val, test: shares that sum to one, for `frame` and `group`; seed: another seed, another division.
    official_test: what the source calls test is the test split, and `train` and `val` are shares of the rest.
    path: a `split.json` of an earlier run; nothing else counts then.
    """

    by: str = "frame"
    train: float = 0.8
    val: float = 0.1
    test: float = 0.1
    seed: int = 0
    official_test: bool = False
    path: str | None = None

    def __call__(self, frames: Sequence[Frame]) -> dict[str, list[Frame]]:
        """Frames by split, in the order of the file; see `numbers`."""
        return {split: [frames[number] for number in part] for split, part in self.numbers(frames).items()}

    def numbers(self, frames: Sequence[Frame]) -> dict[str, list[int]]:
        """Which of the frames are in which split, in their order.

        Raises DataError where a split would be empty, for a frame without the group that is to stay together, and for
        a file that does not fit the frames; ConfigError for shares that cannot be.
        """
        if self.path is not None:
            named = self._by_file_of_keys(frames, Path(self.path).expanduser())
        elif self.by == "file":
            named = [frame.split or "no split" for frame in frames]
            for name, count in Counter(named).items():
                if name not in SPLITS:
                    log.warning("left out %d structures: the file says %s, not train, val or test", count, name)
        elif self.by in ("frame", "group"):
            named = self._by_hash(frames)
        else:
            raise ConfigError(f"data.split.by={self.by!r} is not known", "choose file, frame or group")
        parts = {split: [number for number, name in enumerate(named) if name == split] for split in SPLITS}
        more = "set data.split_key" if self.by == "file" else "give more structures or groups, or other shares"
        for split, part in parts.items():
            if not part:
                raise DataError(f"the {split} split is empty ({len(frames)} structures, data.split.by={self.by})", more)
        return parts

    def _by_hash(self, frames: Sequence[Frame]) -> list[str]:
        self._check_shares()
        named = ["test"] * len(frames)
        groups: dict[str, list[int]] = defaultdict(list)
        for number, frame in enumerate(frames):
            if self.official_test and frame.split == "test":
                continue
            if self.by == "group" and not frame.group:
                raise DataError(
                    f"data.split.by=group, and {frame.source} has no group", "set data.group_key, or by=frame"
                )
            groups[frame.group if self.by == "group" else frame.key].append(number)
        order = sorted(groups, key=lambda name: hashlib.sha256(f"{self.seed}:{name}".encode()).digest())
        divided = sum(map(len, groups.values()))
        if self.official_test and divided == len(frames):
            raise DataError(
                "data.split.official_test=true, and the source calls nothing test",
                "set it to false and give three shares",
            )
        train_end, val_end = self.train * divided, (self.train + self.val) * divided
        taken = 0
        for group in order:
            middle = taken + len(groups[group]) / 2
            for number in groups[group]:
                named[number] = "train" if middle < train_end else "val" if middle < val_end else "test"
            taken += len(groups[group])
        return named

    def _check_shares(self) -> None:
        shares = (self.train, self.val, self.test)
        if abs(sum(shares) - 1) > 1e-6 or min(shares[:2]) <= 0 or (self.test <= 0) != self.official_test:
            raise ConfigError(
                f"data.split.train, val and test are {shares}",
                "with data.split.official_test=true, train and val sum to 1 and test is 0"
                if self.official_test
                else "give three positive shares that sum to 1",
            )

    def _by_file_of_keys(self, frames: Sequence[Frame], path: Path) -> list[str]:
        try:
            stored = json.loads(path.read_text())["keys"]
            named = {key: split for split in SPLITS for key in stored[split]}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"data.split.path={path} is no file of a split ({error})", f"give the {FILE} of a run"
            ) from error
        if sum(len(stored[split]) for split in SPLITS) != len(named):
            raise DataError(f"data.split.path={path} names a structure twice", f"give the {FILE} of a run")
        present = {frame.key for frame in frames}
        for keys, what in (
            (present - named.keys(), f"structures of the data are not in data.split.path={path}"),
            (named.keys() - present, f"structures of data.split.path={path} are not in the data"),
        ):
            if keys:
                raise DataError(
                    f"{len(keys)} of {len(present | named.keys())} {what} (such as {min(keys)})",
                    "give the data that it was made for, or leave data.split.path out to divide anew",
                )
        return [named[frame.key] for frame in frames]


def save(split: Split, keys: Mapping[str, Sequence[str]], path: Path) -> None:
    """Write which keys are in which split, and how that came to be. keys: by split."""
    content = {**asdict(split), "sha256": hashes(keys), "keys": {name: list(part) for name, part in keys.items()}}
    path.write_text(json.dumps(content, indent=1) + "\n")


def hashes(keys: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """One hash per split of the content keys in it, in whatever order."""
    return {split: hashlib.sha256("".join(sorted(part)).encode()).hexdigest() for split, part in keys.items()}


def shared_groups(parts: Mapping[str, Sequence[Frame]]) -> dict[str, float]:
    """Of validation and test: which share of their groups (molecules, materials) occurs in training as well."""
    groups = {split: {frame.group for frame in part} - {""} for split, part in parts.items()}
    return {split: len(groups[split] & groups["train"]) / len(groups[split]) for split in SPLITS[1:] if groups[split]}
