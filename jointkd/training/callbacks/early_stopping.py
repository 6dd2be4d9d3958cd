"""A callback that ends training when the validation force error has stopped decreasing."""

import math
from typing import Any

from lightning.pytorch.callbacks import EarlyStopping

from jointkd.errors import ConfigError
from jointkd.training.module import MONITOR


class StopWithoutProgress(EarlyStopping):
    """Ends training after `patience` validations without a smaller force error; None: never.

    min_delta: meV/Å, by how much the error must be smaller. Raises ConfigError.
    """

    def __init__(self, patience: int | None = None, min_delta: float = 0.0) -> None:
        if patience is not None and patience < 1:
            raise ConfigError(
                f"callbacks.early_stopping.patience={patience} must be a positive number of validations",
                "give at least 1, or null to train for all epochs",
            )
        self.limit = math.inf if patience is None else patience
        super().__init__(MONITOR, min_delta, patience=self.limit, check_on_train_epoch_end=False)  # type: ignore[arg-type]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the errors so far and with the patience of the configuration, not that of the checkpoint."""
        super().load_state_dict({**state_dict, "patience": self.limit})
