"""Tables and plots of many runs, as in the paper."""

import csv
import json
from pathlib import Path

import matplotlib.image
import pytest

from jointkd.errors import DataError
from jointkd.reports import comparison, plots
from jointkd.reports.comparison import write_comparison
from jointkd.reports.runs import read_runs
from jointkd.reports.tables import summarise, table

PAPER = {"energy": 5, "forces": 100, "atomic_energy": 20, "hessian": 400}


def run(folder: Path, method: str, energy: float, force: float = 10.0, **different) -> None:
    """Write a finished run. `curve`: its validation energy errors by epoch; `config`: its effective options."""
    folder.mkdir(parents=True)
    seed = different.get("seed", 0)
    (folder / "config.yaml").write_text(json.dumps({"seed": seed, "name": str(seed), **different.pop("config", {})}))
    curve = different.pop("curve", [])
    values = {
        "method": method,
        "student": "painn",
        "teacher": "mace",
        "data": "demo",
        "seed": 0,
        "weights": PAPER,
        "width": 64,
        "parameters": 670_000,
        "test": {"energy_mae_meV_per_atom": energy, "force_mae_meV_per_A": force},
        "teacher_test": {},
        "started": 100.0 * different.get("seed", 0),
        "ended": 100.0 * different.get("seed", 0) + 50,
        **different,
    }
    (folder / "summary.json").write_text(json.dumps(values))
    (folder / "metrics").mkdir()
    with (folder / "metrics" / "metrics.csv").open("w") as opened:
        rows = csv.writer(opened)
        rows.writerow(["epoch", "step", "val/energy_mae_meV_per_atom"])
        rows.writerows([epoch, 10 * epoch, error] for epoch, error in enumerate(curve))


def reported(folder: Path) -> str:
    """The tables of the runs below a folder."""
    write_comparison(folder)
    return (folder / "table.md").read_text()


def cells(text: str) -> list[list[str]]:
    """The cells of the first table, without the line below its head."""
    lines = text.split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in (lines[0], *lines[2:])]


def test_methods_are_averaged_over_seeds_and_listed_in_the_order_of_the_paper(tmp_path):
    for seed, energy in enumerate([1.0, 2.0, 3.0]):
        run(tmp_path / f"j{seed}", "joint", energy, seed=seed)
        run(tmp_path / f"n{seed}", "none", 2 * energy, seed=seed)
    runs = read_runs(tmp_path)
    summary = summarise(runs)
    assert list(summary["methods"]) == ["none", "joint"]
    assert summary["methods"]["joint"]["energy_mae_meV_per_atom"] == {"mean": 2.0, "std": 1.0}
    assert summary["seeds"] == [0, 1, 2]
    assert summary["seconds"] == 250.0
    assert "| joint | 2 ± 1 | 10 ± 0 |" in table(runs, summary).markdown()


@pytest.mark.parametrize("name", ["summary.json", "config.yaml"])
@pytest.mark.parametrize("content", ["", '{"method": "joint", "see', "- [", "null", '"text"'])
def test_a_run_with_damaged_files_is_left_out_with_a_line_and_the_others_are_reported(tmp_path, caplog, name, content):
    run(tmp_path / "whole", "none", 1.0)
    run(tmp_path / "damaged", "joint", 2.0)
    (tmp_path / "damaged" / name).write_text(content)
    assert len(cells(reported(tmp_path))) == 2
    (line,) = [message for message in caplog.messages if "left out" in message]
    assert line.startswith(f"{tmp_path / 'damaged'} is left out")


def test_a_run_of_which_the_configuration_is_gone_is_left_out_with_a_line(tmp_path, caplog):
    run(tmp_path / "whole", "none", 1.0)
    run(tmp_path / "damaged", "joint", 2.0)
    (tmp_path / "damaged" / "config.yaml").unlink()
    assert len(cells(reported(tmp_path))) == 2
    assert "No such file" in caplog.text


def test_the_report_of_one_run_leaves_its_files_as_they_are(tmp_path):
    run(tmp_path / "a", "joint", 1.0)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    first = reported(tmp_path / "a")
    assert {file: file.read_bytes() for file in before} == before
    assert reported(tmp_path / "a") == first


def test_one_seed_has_no_standard_deviation_in_the_table(tmp_path):
    run(tmp_path / "a", "joint", 2.0)
    assert cells(reported(tmp_path)) == [
        ["method", "Energy MAE, meV/atom", "Force MAE, meV/Å"],
        ["joint", "2", "10"],
    ]


def test_the_numbers_beside_an_error_are_explained_below_the_table(tmp_path):
    run(tmp_path / "n", "none", 2.0)
    assert "Percentages" not in reported(tmp_path)
    run(tmp_path / "h", "hessian", 2.0)
    run(tmp_path / "j", "joint", 1.0)
    run(tmp_path / "j1", "joint", 1.0, seed=1)
    text = reported(tmp_path)
    assert [row[1] for row in cells(text)[1:]] == ["2", "2", "1 ± 0 (-50.0%)"]
    explained = text.split("\n\n")[1]
    assert "a ± b: mean and sample standard deviation over seeds" in explained
    assert "Percentages: the change of a joint run's error from that of the Hessian-only run" in explained


def test_the_table_is_grouped_and_compared_with_hessian_runs_as_in_the_paper(tmp_path):
    energies = {"none": 3.3, "hessian": 3.3, "joint": 1.2}
    for data, factor in (("solvated_aa", 1), ("monomers", 2)):
        for method, energy in energies.items():
            for student in ("painn", "gemnet_dt"):
                errors = {"energy_mae_meV_per_atom": 1.3 * factor, "force_mae_meV_per_A": 19.4}
                force = {"none": 50.1, "hessian": 18.6, "joint": 18.5}[method]
                setting = {"data": data, "student": student, "teacher_test": errors}
                run(tmp_path / data / student / method, method, factor * energy, force, **setting)
    rows = cells(reported(tmp_path))
    assert rows[0][:3] == ["data", "student", "method"]
    assert rows[1:5] == [
        ["monomers", "–", "teacher mace", "2.6", "19.4"],
        ["monomers", "gemnet_dt (0.67M)", "none", "6.6", "50.1"],
        ["monomers", "gemnet_dt (0.67M)", "hessian", "6.6", "18.6"],
        ["monomers", "gemnet_dt (0.67M)", "joint", "2.4 (-63.6%)", "18.5 (-0.5%)"],
    ]
    assert [row[0] for row in rows[1:]] == ["monomers"] * 7 + ["solvated_aa"] * 7
    assert [row[1].split()[0] for row in rows[9:]] == ["gemnet_dt"] * 3 + ["painn"] * 3


@pytest.mark.parametrize(
    ("drawn", "different"),
    [
        ("methods", [{"method": method} for method in ("none", "hessian", "joint")]),
        ("sweep", [{"width": width} for width in (32, 64, 128)]),
        ("methods", [{"width": width, "weights": {**PAPER, "energy": width}} for width in (32, 64)]),
        ("grid", [{"data": data, "method": method} for data in "abc" for method in ("none", "hessian", "joint")]),
    ],
)
def test_the_plot_is_that_of_what_differs_between_the_runs(tmp_path, monkeypatch, drawn, different):
    plotted = []
    for place, name in ((comparison, "methods"), (plots, "sweep"), (plots, "grid")):

        def draw(*arguments, name=name):
            plotted.append(name)
            arguments[-1].write_bytes(b"a plot")

        monkeypatch.setattr(place, name, draw)
    for number, options in enumerate(different):
        run(tmp_path / str(number), **{"method": "joint", "energy": 1.0, **options})
    write_comparison(tmp_path)
    assert plotted == [drawn]
    assert (tmp_path / "curves.png").exists() == (drawn != "methods")


def test_a_joint_run_is_compared_with_the_hessian_run_of_its_own_teacher(tmp_path):
    run(tmp_path / "h", "hessian", 4.0, teacher="mace")
    run(tmp_path / "j", "joint", 1.0, teacher="esen")
    assert "%" not in reported(tmp_path)
    run(tmp_path / "other", "hessian", 2.0, teacher="esen")
    (row,) = [row for row in cells(reported(tmp_path)) if "joint" in row]
    assert "1 (-50.0%)" in row


def test_a_swept_weight_has_a_column_and_a_plot(tmp_path):
    for weight, energy in ((100, 0.9), (0, 1.5), (20, 0.8)):
        run(tmp_path / str(weight), "joint", energy, weights={**PAPER, "atomic_energy": weight})
    rows = cells(reported(tmp_path))
    assert [row[:3] for row in rows] == [
        ["method", "λ_Eatom", "Energy MAE, meV/atom"],
        ["joint", "0", "1.5"],
        ["joint", "20", "0.8"],
        ["joint", "100", "0.9"],
    ]
    assert is_plotted(tmp_path / "comparison.png")


def test_weights_that_differ_with_the_method_or_the_data_have_no_column(tmp_path):
    run(tmp_path / "a", "hessian", 2.0, weights={"energy": 5, "hessian": 400})
    run(tmp_path / "b", "joint", 1.0)
    run(tmp_path / "c", "joint", 1.0, data="pm3m", weights={**PAPER, "hessian": 200})
    assert cells(reported(tmp_path))[0][:2] == ["data", "method"]


def test_widths_are_shown_with_the_numbers_of_parameters(tmp_path):
    for width in (32, 64):
        for method in ("hessian", "joint"):
            run(tmp_path / f"{width}{method}", method, 64 / width, width=width, parameters=170 * width**2)
    rows = cells(reported(tmp_path))
    assert [row[:3] for row in rows[:3]] == [
        ["method", "width", "Energy MAE, meV/atom"],
        ["hessian", "32 (0.17M)", "2"],
        ["joint", "32 (0.17M)", "2 (+0.0%)"],
    ]
    assert is_plotted(tmp_path / "comparison.png")


def test_epochs_to_match_are_counted_to_the_final_error_of_the_hessian_run(tmp_path):
    run(tmp_path / "h", "hessian", 2.0, curve=[9, 4, 3, 2, 3])
    run(tmp_path / "j", "joint", 1.0, curve=[5, 3, 2, 1, 1])
    run(tmp_path / "h1", "hessian", 2.0, seed=1, curve=[9, 4, 3, 2, 1])
    run(tmp_path / "j1", "joint", 1.0, seed=1, curve=[5, 3, 2, 1.5, 1])
    (row,) = summarise(read_runs(tmp_path))["epochs"]
    assert (row["hessian"], row["joint"]) == (4, 3.5)
    assert "| demo | painn | 64 | 4 | 3.5 |" in reported(tmp_path)
    assert is_plotted(tmp_path / "epochs.png")


def test_a_joint_run_that_does_not_reach_the_error_is_marked(tmp_path):
    run(tmp_path / "h", "hessian", 2.0, curve=[9, 4, 3])
    run(tmp_path / "j", "joint", 1.0, curve=[5, 4, 4])
    assert "| demo | painn | 64 | 3 | not reached |" in reported(tmp_path)


def test_the_curve_of_a_resumed_run_contains_all_its_parts(tmp_path):
    run(tmp_path / "h", "hessian", 2.0, curve=[9, 4, 3, 2, 2])
    run(tmp_path / "j", "joint", 1.0, curve=[9, 9, 2])
    metrics = tmp_path / "j" / "metrics" / "metrics.csv"
    metrics.rename(metrics.with_name("metrics-1.csv"))
    metrics.write_text("epoch,step,val/energy_mae_meV_per_atom\n2,20,8\n3,30,1\n")  # epoch 2 again, after a crash
    (row,) = summarise(read_runs(tmp_path))["epochs"]
    assert row["joint"] == 4


def test_runs_with_the_same_seed_and_options_are_averaged_with_a_warning(tmp_path, caplog):
    for rows in (1, 4):
        run(tmp_path / f"again{rows}", "hessian", 10.0)
    with caplog.at_level("WARNING"):
        read_runs(tmp_path)
    assert "runs with the same seed and the same options are averaged" in caplog.text
    assert str(tmp_path / "again4") in caplog.text


def test_runs_that_differ_in_an_option_have_separate_rows_with_its_value(tmp_path):
    for rows in (1, 4):
        for seed in (0, 1):
            for method, energy in (("hessian", 4.0), ("joint", 2.0)):
                config = {"hessian": {"rows": rows}, "method": {"terms": {method: {"rows": rows}}}}
                run(tmp_path / f"{method}{rows}{seed}", method, energy / rows, seed=seed, config=config)
    rows = cells(reported(tmp_path))
    assert [row[:3] for row in rows] == [
        ["method", "options", "Energy MAE, meV/atom"],
        ["hessian", "hessian.rows=1", "4 ± 0"],
        ["hessian", "hessian.rows=4", "1 ± 0"],
        ["joint", "hessian.rows=1", "2 ± 0 (-50.0%)"],
        ["joint", "hessian.rows=4", "0.5 ± 0 (-50.0%)"],
    ]
    assert is_plotted(tmp_path / "comparison.png")


@pytest.mark.parametrize(
    ("rows", "options"),
    [
        (["all", 8], ["label.probes=0", "label.probes=4"]),
        (["all", 8, 16], ["label.probes=0 label.rows=16", "label.probes=0 label.rows=all", "label.probes=4"]),
    ],
)
def test_rows_of_labels_are_not_named_where_probes_are_learned_instead(tmp_path, rows, options):
    for number, (count, probes) in enumerate(zip(rows, (0, 4, 0), strict=False)):
        config = {"label": {"rows": count, "probes": probes}}
        run(tmp_path / str(number), "joint", 1.0, config=config)
    assert [setting.options for setting in read_runs(tmp_path)] == options


def test_a_joint_run_is_compared_only_with_a_hessian_run_of_the_same_options(tmp_path):
    run(tmp_path / "h", "hessian", 4.0, config={"student": {"cutoff": 5.0}})
    for cutoff in (5.0, 6.0):
        run(tmp_path / f"j{cutoff}", "joint", 2.0, config={"student": {"cutoff": cutoff}})
    assert [row[:3] for row in cells(reported(tmp_path))[1:]] == [
        ["hessian", "student.cutoff=5.0", "4"],
        ["joint", "student.cutoff=5.0", "2 (-50.0%)"],
        ["joint", "student.cutoff=6.0", "2"],
    ]


def test_an_option_that_only_some_runs_have_separates_them(tmp_path):
    run(tmp_path / "a", "joint", 1.0)
    run(tmp_path / "b", "joint", 2.0, config={"callbacks": {"halving": {"_target_": "a.B", "every": 20}}})
    assert list(summarise(read_runs(tmp_path))["methods"]) == ["joint", "joint callbacks.halving.every=20"]


def test_options_that_differ_with_method_or_data_and_folders_of_files_separate_no_runs(tmp_path):
    run(tmp_path / "h", "hessian", 2.0, config={"optimizer": {"lr": 1}, "data": {"path": "a/x.xyz"}})
    run(
        tmp_path / "h1",
        "hessian",
        2.0,
        seed=1,
        config={"optimizer": {"lr": 1}, "data": {"path": "x.xyz"}, "weights": {"atomic_energy": 1}},
    )
    for seed, folder in enumerate("ab"):
        config = {"optimizer": {"lr": 2}, "data": {"path": f"{folder}/x.xyz", "prepared": folder, "seed": seed}}
        run(tmp_path / f"j{seed}", "joint", 1.0, seed=seed, config=config)
    run(tmp_path / "c", "joint", 1.0, data="pm3m", config={"trainer": {"max_epochs": 3}})
    assert cells(reported(tmp_path))[0][:3] == ["data", "method", "Energy MAE, meV/atom"]


def test_runs_on_different_data_are_not_averaged_together(tmp_path):
    run(tmp_path / "a", "joint", 2.0, data="demo")
    run(tmp_path / "b", "joint", 4.0, data="other")
    methods = summarise(read_runs(tmp_path))["methods"]
    assert {name: values["energy_mae_meV_per_atom"]["mean"] for name, values in methods.items()} == {
        "demo joint": 2.0,
        "other joint": 4.0,
    }


def test_the_smallest_error_of_the_students_on_the_same_data_is_the_best(tmp_path):
    for data, factor in (("monomers", 1), ("iodine", 10)):
        for method, energy, force in (("none", 3.0, 9.0), ("hessian", 2.0001, 5.0), ("joint", 2.0, 6.0)):
            errors = {"energy_mae_meV_per_atom": 0.1, "force_mae_meV_per_A": 0.1}
            run(tmp_path / data / method, method, factor * energy, force, data=data, teacher_test=errors)
    runs = read_runs(tmp_path)
    shown = table(runs, summarise(runs))
    best = {shown.rows[row][column].split()[0] for row, column in shown.best}
    assert best == {"2", "20", "5"}  # no teacher's; those that read the same are equally good
    assert len(shown.best) == 2 * 3


def test_a_single_student_is_not_the_best_of_anything(tmp_path):
    run(tmp_path / "a", "joint", 1.0)
    runs = read_runs(tmp_path)
    assert table(runs, summarise(runs)).best == frozenset()


def test_one_seed_has_the_interval_over_the_recorded_structures_and_several_have_not(tmp_path):
    names = "formula,atoms,energy_eV,predicted_energy_eV,zero_eV,force_mae_meV_per_A\n"
    for seed, method in enumerate(("hessian", "joint", "joint")):
        run(tmp_path / f"{seed}", method, 1.0, seed=seed)
        (tmp_path / f"{seed}" / "test.csv").write_text(names + "H2,2,0,0.002,0,10\nH2,2,0,0.006,0,10\n")
    text = reported(tmp_path)
    assert [row[1:] for row in cells(text)[1:]] == [["1 [1, 3]", "10 [10, 10]"], ["1 ± 0 (+0.0%)", "10 ± 0 (+0.0%)"]]
    assert "95 % interval over the choice of test structures" in text


@pytest.mark.parametrize(("epochs", "names"), [(25, ["8", "16"]), (7, ["8", "7", "16"])])
def test_numbers_of_epochs_that_follow_from_the_steps_are_no_difference(tmp_path, epochs, names):
    for structures, own in ((16, 25), (8, 50 if epochs == 25 else epochs)):
        trainer = {"max_steps": 100, "max_epochs": own}
        config = {"data": {"split": {"train": structures}, "batch_size": 4}, "trainer": trainer}
        run(tmp_path / f"{structures}", "joint", 1.0, config=config)
    rows = cells(reported(tmp_path))
    assert [part.partition("=")[2] for row in rows[1:] for part in row[1].split()] == names


def test_a_learning_curve_is_drawn_over_the_number_of_training_structures(tmp_path, monkeypatch):
    for structures in (16, 8, 100):
        folder = tmp_path / f"{structures}"
        run(folder, "joint", 100.0 / structures, config={"data": {"split": {"train": structures}}})
        keys = {"keys": {"train": ["a"] * (structures - 1), "val": [], "test": []}}
        (folder / "split.json").write_text(json.dumps(keys))
    axes = []
    monkeypatch.setattr(plots, "save", lambda figure, path: (axes.extend(figure.axes), path.write_bytes(b"")))
    write_comparison(tmp_path)
    energies, _ = axes
    assert (energies.get_xscale(), energies.get_yscale()) == ("log", "log")
    assert energies.get_xlabel() == "training structures"
    assert energies.lines[0].get_xdata().tolist() == [7, 15, 99]
    assert (tmp_path / "curves.csv").exists()


def test_a_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(DataError, match="holds no finished runs"):
        read_runs(tmp_path)


def is_plotted(path: Path) -> bool:
    """Whether an image file exists and is not blank."""
    return float(matplotlib.image.imread(path)[..., :3].std()) > 0.01
