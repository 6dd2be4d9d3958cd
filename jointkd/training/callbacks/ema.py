"""Lightning's running average of weights, with all parameters updated together, in a few launches of a GPU."""

from typing import Any

import lightning
from lightning.pytorch import callbacks
from torch.optim.swa_utils import get_ema_multi_avg_fn


class EMAWeightAveraging(callbacks.EMAWeightAveraging):  # of the same name, by which a checkpoint finds its state
    """The exponential moving average of the weights. decay: in [0, 1), of the average in every step."""

    def __init__(self, decay: float = 0.999, **options: Any) -> None:
        super().__init__(decay=decay, **options)
        self.decay = decay

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if self._average_model is not None:
            self._average_model.avg_fn = None
            self._average_model.multi_avg_fn = get_ema_multi_avg_fn(self.decay)
