"""What a report knows of a plot that it has drawn."""

from dataclasses import dataclass

from jointkd.reports.tables import Table


@dataclass(frozen=True)
class Figure:
    """A plot of the report. file: its name in the folder; data: the names of the files with its data."""

    file: str
    title: str
    caption: str
    data: str = "comparison.json"
    table: Table | None = None  # of its numbers
