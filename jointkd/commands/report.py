"""Compare finished runs: tables, a summary and pictures."""

from pathlib import Path

from omegaconf import DictConfig

from jointkd.reports.comparison import write_comparison


def run(config: DictConfig) -> None:
    """Write comparison.json, table.md and pictures of all finished runs below `runs` into that folder."""
    write_comparison(Path(config.runs).expanduser())
