"""Which structure is for training, validation and test: by content, the same on every machine."""

import hashlib
import logging
from collections import Counter, defaultdict
from dataclasses import dataclass

from jointkd.errors import ConfigError, DataError
from jointkd.frame import Frame

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Split:
    """How frames are divided.

    by: `file` (each frame says it itself), `frame` (each on its own), or `group` (groups stay together).
    train, val, test: shares that sum to one, for `frame` and `group`; seed: another seed, another division.
    """

    by: str = "frame"
    train: float = 0.8
    val: float = 0.1
    test: float = 0.1
    seed: int = 0

    def __call__(self, frames: list[Frame]) -> dict[str, list[Frame]]:
        """Frames by split, in the order of the file.

        Raises DataError where a split would be empty, and for a frame without the group that is to stay together.
        """
        if self.by == "file":
            named = {frame.key: frame.split or "no split" for frame in frames}
            for name, count in Counter(named.values()).items():
                if name not in SPLITS:
                    log.warning("left out %d structures: the file says %s, not train, val or test", count, name)
        elif self.by in ("frame", "group"):
            named = self._by_hash(frames)
        else:
            raise ConfigError(f"data.split.by={self.by!r} is not known", "choose file, frame or group")
        parts = {split: [frame for frame in frames if named[frame.key] == split] for split in SPLITS}
        more = "set data.split_key" if self.by == "file" else "give more structures or groups, or other shares"
        for split, part in parts.items():
            if not part:
                raise DataError(f"the {split} split is empty ({len(frames)} structures, data.split.by={self.by})", more)
        return parts

    def _by_hash(self, frames: list[Frame]) -> dict[str, str]:
        shares = (self.train, self.val, self.test)
        if abs(sum(shares) - 1) > 1e-6 or min(shares) <= 0:
            raise ConfigError(
                f"data.split.train, val and test are {shares}", "give three positive shares that sum to 1"
            )
        groups: dict[str, list[str]] = defaultdict(list)
        for frame in frames:
            if self.by == "group" and not frame.group:
                raise DataError(
                    f"data.split.by=group, and {frame.source} has no group", "set data.group_key, or by=frame"
                )
            groups[frame.group if self.by == "group" else frame.key].append(frame.key)
        order = sorted(groups, key=lambda name: hashlib.sha256(f"{self.seed}:{name}".encode()).digest())
        train_end, val_end = self.train * len(frames), (self.train + self.val) * len(frames)
        named, taken = {}, 0
        for group in order:
            middle = taken + len(groups[group]) / 2
            split = "train" if middle < train_end else "val" if middle < val_end else "test"
            named.update(dict.fromkeys(groups[group], split))
            taken += len(groups[group])
        return named
