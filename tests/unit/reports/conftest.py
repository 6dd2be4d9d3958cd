"""Plots of few pixels, which are drawn in a fraction of the time."""

import pytest

from jointkd.reports import style


@pytest.fixture(autouse=True, scope="session")
def _small_plots():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style, "DPI", 50)
        yield
