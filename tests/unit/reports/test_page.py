"""The page of a report: whole, self-contained, escaped, and with what the folders of runs record."""

import csv
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from jointkd.evaluation.density import Density, save_densities
from jointkd.reports.comparison import write_comparison
from jointkd.reports.markup import EMPTY, element
from tests.unit.reports.test_tables import run

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Page(HTMLParser):
    """A page as a reader of HTML sees it. Fails where an element is not closed by its own end."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.bold: list[str] = []
        self.cells: list[str] = []
        self.titles: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.addresses += [value for name, value in attrs if name in ("src", "href", "action")]
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] == ["h2"]:
            self.titles.append(data)
        if self.open[-1:] == ["td"]:
            self.cells.append(data)
        if self.open[-2:] == ["td", "strong"]:
            self.bold.append(data)


def page(folder: Path) -> str:
    """The text of the report on the runs below a folder."""
    write_comparison(folder)
    return (folder / "report.html").read_text(encoding="utf-8")


def record(folder: Path, errors: list[float]) -> None:
    """Write the record of test structures of one water molecule each, with these errors of the energy (eV)."""
    with (folder / "test.csv").open("w") as opened:
        rows = csv.writer(opened)
        rows.writerow(["formula", "atoms", "energy_eV", "predicted_energy_eV", "zero_eV", "force_mae_meV_per_A"])
        rows.writerows(["H2O", 3, -10.0, -10.0 + error, -9.0, 1e3 * abs(error)] for error in errors)
    density, rng = Density(center=0.0), np.random.default_rng(0)
    density.add(*rng.normal(size=(2, 50)))
    (folder / "parity.npz").write_bytes(save_densities(forces=density))


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A folder with the report on a run of each method that has everything a report shows."""
    folder = tmp_path_factory.mktemp("compared")
    compare_three(folder)
    page(folder)
    return folder


def compare_three(tmp_path: Path) -> None:
    """Write a run of each method that has everything a report shows."""
    for number, method in enumerate(("none", "hessian", "joint")):
        folder = tmp_path / method
        card = {"licence": "ASL", "level_of_theory": "PBE", "citation": "A <b>, 2025", "elements": ["H", "O"]}
        run(
            folder,
            method,
            3.0 - number,
            curve=[9, 5, 3.0 - number],
            teacher_card=card,
            failed_labels={"out of memory": 2} if method == "joint" else {},
            elements={"H": {"energy": -3.0, "predicted": -3.0, "origin": "reference energy, not a structure"},
                      "O": {"energy": -3.0, "predicted": -3.0, "origin": "O2 of <mine>"}},
            config={"data": {"path": "mine.xyz"}, "method": {"name": method}},
        )  # fmt: skip
        record(folder, [0.003, -0.006, 0.001 * number])
        (folder / "split.json").write_text(json.dumps({"keys": {"train": ["a"], "val": ["b"], "test": ["c", "d"]}}))
        origin = {"versions": {"torch": "2.13"}, "hardware": {"processor": "Abacus", "threads": 2}, "git": "f00"}
        (folder / "provenance.json").write_text(json.dumps({**origin, "data": {"test": "1234567890abcdef"}}))
        speed = [{"atoms": 24, "force_field": name, "ms": ms} for name, ms in (("student", 2.0), ("mace", 8.0))]
        (folder / "speed.json").write_text(json.dumps({"dynamics": speed}))
    gates = [
        {"name": "force error", "passed": True, "value": 12.3456, "threshold": 50, "unit": "meV/Å"},
        {"name": "drift", "passed": False, "value": None, "threshold": 1e-4, "unit": "eV/ps"},
    ]
    (tmp_path / "joint" / "acceptance.json").write_text(json.dumps({"passed": False, "gates": gates}))
    (tmp_path / "none" / "wandb" / "files").mkdir(parents=True)
    (tmp_path / "none" / "wandb" / "files" / "config.yaml").write_text("a file of another program")
    (tmp_path / "stopped").mkdir()
    (tmp_path / "stopped" / "jointkd.log").write_text("epoch 1\nout of <memory>\n\n")


def test_a_page_is_whole_and_fetches_nothing(compared):
    text = (compared / "report.html").read_text(encoding="utf-8")
    seen = Page(text)
    assert seen.addresses
    assert all(address.startswith("data:image/png;base64,") for address in seen.addresses)
    outside = re.sub(r"base64,[^\"]*", "", text)
    assert not re.search(r"https?:|//|@import|url\(|<script|<link", outside)
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    assert 'name="viewport"' in text


def test_a_page_has_a_part_for_everything_that_the_runs_recorded(compared):
    text = (compared / "report.html").read_text(encoding="utf-8")
    seen = Page(text)
    assert seen.titles == [
        *("Test errors", "Figures", "Acceptance", "Differences between the runs", "Data", "Teachers"),
        *("Software and hardware", "What failed"),
    ]
    for file in ("comparison", "epochs", "throughput", "parity", "formation"):
        assert (compared / f"{file}.png").stat().st_size > 1000
    assert len(seen.addresses) == 5
    assert {"1 [1, 6] (-50.0%)"} <= {re.sub(r"\[.*?\]", "[1, 6]", cell) for cell in seen.bold}
    for shown in (
        "ASL",
        "PBE",
        "12.3 meV/Å",
        "0.0001 eV/ps",
        "Abacus, threads: 2",
        "out of memory",
        "2 (1234567890ab)",
    ):
        assert shown in text
    assert [cell for cell in seen.cells if "wandb" in cell or cell == "stopped"] == ["stopped"]
    assert "4" in seen.cells  # times as fast as the teacher


def test_what_runs_say_is_shown_as_text_and_never_as_markup(compared):
    text = (compared / "report.html").read_text(encoding="utf-8")
    assert "A &lt;b&gt;, 2025" in text
    assert "out of &lt;memory&gt;" in text
    assert "O2 of &lt;mine&gt;" in text
    assert str(element("p", "<i>", title='"x"')) == '<p title="&quot;x&quot;">&lt;i&gt;</p>'


def test_parts_without_content_are_left_out(tmp_path):
    run(tmp_path / "a", "joint", 1.0)
    assert Page(page(tmp_path)).titles == ["Test errors", "Figures", "Data", "Software and hardware", "What failed"]
    assert "Nothing: every run" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_runs_that_were_tested_on_different_structures_are_warned_of(tmp_path):
    for method in ("hessian", "joint"):
        run(tmp_path / method, method, 1.0)
        (tmp_path / method / "provenance.json").write_text(json.dumps({"data": {"test": method}}))
    assert "tested on 2 different sets of structures" in page(tmp_path)


def test_damaged_records_cost_their_own_parts_alone(tmp_path):
    compare_three(tmp_path)
    for name in ("test.csv", "parity.npz", "speed.json", "acceptance.json", "provenance.json"):
        for method in ("none", "joint"):
            (tmp_path / method / name).write_bytes(b'formula,atoms\nH2O,x\n{"dyn')
    seen = Page(page(tmp_path))
    assert "Acceptance" not in seen.titles
    assert len(seen.addresses) == 5
    assert "[" not in "".join(cell for cell in seen.cells if cell.startswith("3"))


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium here")
@pytest.mark.parametrize("width", [390, 1200])
def test_a_browser_opens_the_page_without_scrolling_sideways(compared, tmp_path, width):
    text = (compared / "report.html").read_text(encoding="utf-8")
    measured = "<script>document.title = document.documentElement.scrollWidth <= innerWidth</script></body>"
    (tmp_path / "measured.html").write_text(text.replace("</body>", measured), encoding="utf-8")
    command = [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", f"--window-size={width},900", "--dump-dom"]
    opened = subprocess.run(
        [*command, (tmp_path / "measured.html").as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    assert "<title>true</title>" in opened.stdout
