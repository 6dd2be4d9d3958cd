"""The logger of TensorBoard apart from what it logs, for which see test_run_loggers."""

from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib import image

from jointkd.errors import MissingExtra
from jointkd.training import tensorboard_logger as module


def test_a_missing_tensorboard_is_one_line_with_the_remedy(monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise ModuleNotFoundError("Neither `tensorboard` nor `tensorboardX` is available.")

    monkeypatch.setattr(module, "PictureLogger", refuse)
    with pytest.raises(MissingExtra, match=r"needs tensorboard; pip install 'jointkd\[tensorboard\]'"):
        module.tensorboard_logger(str(tmp_path))


def test_a_picture_is_written_at_once_as_the_process_may_end(tmp_path):
    image.imsave(tmp_path / "picture.png", np.zeros((2, 3)))
    calls = []
    writer = SimpleNamespace(add_image=lambda *_, **__: calls.append("add"), flush=lambda: calls.append("flush"))
    module.PictureLogger.log_image(SimpleNamespace(experiment=writer), "test", [str(tmp_path / "picture.png")], 1)
    assert calls == ["add", "flush"]
