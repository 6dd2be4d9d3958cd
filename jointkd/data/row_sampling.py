"""Which of a structure's stored Hessian rows a step sees: every row once before any twice, or always the same."""

import numpy as np

from jointkd.errors import ConfigError

SAMPLINGS = ("fresh", "fixed")


def check_sampling(name: str) -> None:
    """Raises ConfigError where it is not known."""
    if name not in SAMPLINGS:
        raise ConfigError(f"method.rows={name!r} is not known", f"choose {' or '.join(SAMPLINGS)}")


def drawn(stored: int, wanted: int, seed: int, key: str, epoch: int) -> np.ndarray:
    """[wanted] the places, of `stored` rows, that a structure gives in an epoch.

    Rows are dealt from shuffled packs: an epoch takes the next `wanted` of all packs laid end to end, so every row is
    seen once before any is seen twice. Their order depends on the seed, the structure's content key and the number of
    the pack alone: nothing is kept between epochs. No epoch has a row twice if stored >= 2 * wanted.
    """
    first, last = epoch * wanted, (epoch + 1) * wanted
    packs = range(first // stored, (last - 1) // stored + 1)
    places = np.concatenate([pack(number, stored, wanted, seed, key) for number in packs])
    begin = first - packs[0] * stored
    return places[begin : begin + wanted]


def pack(number: int, stored: int, wanted: int, seed: int, key: str) -> np.ndarray:
    """[stored] every place once, shuffled. The epoch in which the pack before ends goes on with this one, so what that
    one ended with does not come first; this one's own end stays as it was shuffled."""
    order = shuffled(number, stored, seed, key)
    begun, ending = (place * stored % wanted for place in (number, number + 1))
    if not begun or wanted > stored:
        return order
    body, end = order[: stored - ending], order[stored - ending :]
    late = np.isin(body, shuffled(number - 1, stored, seed, key)[stored - begun :])
    return np.concatenate([body[~late], body[late], end])


def shuffled(number: int, stored: int, seed: int, key: str) -> np.ndarray:
    return np.random.default_rng([seed, number, int(key[:16], 16)]).permutation(stored)
