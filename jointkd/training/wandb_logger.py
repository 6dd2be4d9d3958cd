"""The logger of Weights & Biases, online if its server can be reached."""

import os
import socket
from typing import Any

from lightning.pytorch.loggers import WandbLogger


def reachable(host: str = "api.wandb.ai", port: int = 443, seconds: float = 2.0) -> bool:
    """Whether a connection to the server can be made."""
    try:
        with socket.create_connection((host, port), timeout=seconds):
            return True
    except OSError:
        return False


def wandb_logger(**options: Any) -> WandbLogger:
    """A logger that stores the run on disk if there is no network, to be sent later with `wandb sync`.

    The environment variable WANDB_MODE has precedence.
    """
    offline = "WANDB_MODE" not in os.environ and not reachable()
    return WandbLogger(offline=offline, **options)
