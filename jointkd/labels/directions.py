"""Directions along which a teacher's energy Hessian is labelled: its rows, or its products with random probes.

The directions of one structure of N atoms are an array: [K] int64, the numbers 3 * atom + axis of K rows, or [K, N, 3],
K probes, which are vectors of length one. A row is the product with the unit vector of its coordinate.
"""

import numpy as np

from jointkd.errors import ConfigError

NO_ROWS = np.zeros(0, dtype=np.int64)


def check_rows(option: str, rows: int | str) -> None:
    """Raise ConfigError unless an option is a number of Hessian rows, or all of them."""
    if rows != "all" and not (isinstance(rows, int) and not isinstance(rows, bool) and rows >= 0):
        raise ConfigError(f"{option}={rows} must be a number of Hessian rows or all", "give 0 or more, or all")


def choose_rows(key: str, atoms: int, rows: int | str, seed: int) -> np.ndarray:
    """[K] the Hessian rows that a structure gets, ascending: all 3N, or `rows` of them drawn by its key and a seed."""
    if rows == "all" or int(rows) >= 3 * atoms:
        return np.arange(3 * atoms)
    return np.sort(drawn_by(key, seed).choice(3 * atoms, int(rows), replace=False))


def draw_probes(key: str, atoms: int, count: int, seed: int) -> np.ndarray:
    """[count, N, 3] float32: the probes that a structure gets, drawn from the sphere by its key and a seed."""
    vectors = drawn_by(key, seed).standard_normal((count, atoms, 3))
    return (vectors / np.linalg.norm(vectors, axis=(1, 2), keepdims=True)).astype(np.float32)


def drawn_by(key: str, seed: int) -> np.random.Generator:
    """Random numbers that depend on the content of a structure and a seed alone."""
    return np.random.default_rng([seed, int(key[:16], 16)])


def are_probes(directions: np.ndarray) -> bool:
    """Whether directions are probes, not rows."""
    return directions.ndim == 3


def vectors(directions: np.ndarray, atoms: int) -> np.ndarray:
    """[K, N, 3] float64: probes as they are, rows as unit vectors."""
    if are_probes(directions):
        return directions.astype(np.float64)
    units = np.zeros((len(directions), 3 * atoms))
    units[np.arange(len(directions)), directions] = 1
    return units.reshape(len(directions), atoms, 3)


def components(values: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Parts of values [M, N, 3] along K directions → [M, K]."""
    flat = values.reshape(len(values), -1)
    if are_probes(directions):
        return flat @ directions.reshape(len(directions), -1).T
    return flat[:, directions]
