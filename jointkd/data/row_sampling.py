"""What a training step takes of a structure's stored Hessian rows: fresh ones in every epoch, fixed ones, or mixtures.

Stored probes are taken as rows are.
"""

import numpy as np

from jointkd.errors import ConfigError

SAMPLINGS = ("fresh", "fixed", "mixed")


def check_sampling(name: str) -> None:
    """Raise ConfigError for an unknown way to sample rows."""
    if name not in SAMPLINGS:
        raise ConfigError(f"method.rows={name!r} is not known", f"choose one of {', '.join(SAMPLINGS)}")


def sample_rows(stored: int, count: int, seed: int, key: str, epoch: int) -> np.ndarray:
    """[count] indices, among the `stored` rows of a structure, of the rows that an epoch uses.

    Shuffled blocks of all indices are laid end to end, and each epoch takes the next `count` entries; so every row is
    used once before any is used twice. The order within a block depends on the seed, the structure's content key and
    the number of the block alone: no state is kept between epochs. No epoch uses a row twice if stored >= 2 * count.
    """
    first, last = epoch * count, (epoch + 1) * count
    blocks = range(first // stored, (last - 1) // stored + 1)
    indices = np.concatenate([shuffled_block(number, stored, count, seed, key) for number in blocks])
    begin = first - blocks[0] * stored
    return indices[begin : begin + count]


def mixtures(stored: int, count: int, seed: int, key: str, epoch: int) -> np.ndarray:
    """[count, stored] the coefficients by which an epoch mixes all stored rows: normal random numbers."""
    return np.random.default_rng([seed, epoch, int(key[:16], 16)]).standard_normal((count, stored))


def shuffled_block(number: int, stored: int, count: int, seed: int, key: str) -> np.ndarray:
    """[stored] every index once, in the order of block `number`.

    An epoch that begins in the previous block continues in this one. The indices that it has already used are moved
    away from the front, so that it does not use one twice. The end of the block, with which the next such epoch begins,
    keeps its shuffled order.
    """
    order = shuffle(number, stored, seed, key)
    used, ending = (block * stored % count for block in (number, number + 1))  # of the epochs across the block's ends
    if not used or count > stored:
        return order
    body, end = order[: stored - ending], order[stored - ending :]
    repeated = np.isin(body, shuffle(number - 1, stored, seed, key)[stored - used :])
    return np.concatenate([body[~repeated], body[repeated], end])


def shuffle(number: int, stored: int, seed: int, key: str) -> np.ndarray:
    """[stored] a random permutation that depends on the arguments alone."""
    return np.random.default_rng([seed, number, int(key[:16], 16)]).permutation(stored)
