"""Compare finished runs: one page, tables, a summary and plots."""

from pathlib import Path
from typing import Any

from ase.data import atomic_numbers
from omegaconf import DictConfig, OmegaConf

from jointkd.errors import ConfigError
from jointkd.evaluation.hull import check_hull
from jointkd.reports.comparison import write_comparison


def run(config: DictConfig) -> None:
    """Write report.html, table.md, comparison.json and plots of all finished runs below `runs` into that folder.

    Raises ConfigError, DataError and MissingExtra.
    """
    elements: Any = OmegaConf.to_container(config.elements) if OmegaConf.is_config(config.elements) else config.elements
    if elements is not None:
        check_elements(elements)
    check_hull(config.hull)
    write_comparison(Path(str(config.runs)).expanduser(), elements, config.hull)


def check_elements(elements: Any) -> None:
    """Raise ConfigError for what is not an energy by chemical symbol."""
    remedy = "give eV/atom as elements={Si: -5.42, O: -4.95}, or leave elements out"
    if not isinstance(elements, dict):
        raise ConfigError(f"elements={elements} must be energies by chemical symbol", remedy)
    for symbol, energy in elements.items():
        if symbol not in atomic_numbers or isinstance(energy, bool) or not isinstance(energy, int | float):
            raise ConfigError(f"elements has {symbol}: {energy}, which must be an energy by chemical symbol", remedy)
