"""How a term measures one difference: each norm takes [..., D] to [...]."""

from collections.abc import Callable

import torch
from torch import Tensor

from jointkd.errors import ConfigError

NORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "mae": lambda difference: difference.abs().mean(-1),
    "l2": lambda difference: torch.linalg.vector_norm(difference, dim=-1),
    "mse": lambda difference: difference.square().mean(-1),
    "huber": lambda difference: torch.nn.functional.huber_loss(
        difference, torch.zeros_like(difference), reduction="none", delta=0.01
    ).mean(-1),
}


def norm(name: str) -> Callable[[Tensor], Tensor]:
    """The norm of that name. Raises ConfigError where there is none."""
    if name not in NORMS:
        raise ConfigError(f"norm={name!r} is not known", f"choose one of {', '.join(NORMS)}")
    return NORMS[name]
