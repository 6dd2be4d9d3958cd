"""The recipe of each data set and student has the numbers of the paper's tables 5 to 11."""

import functools

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from jointkd.cli.config_tree import flatten
from tests.configurations import composed

DATA = {
    "Monomers": "monomers",
    "Solvated Amino Acids": "solvated_aa",
    "Systems with Iodine": "iodine",
    "Pm3m Spacegroup": "pm3m",
    "Systems with Yttrium": "yttrium",
    "Band Gap": "bandgap5",
}
STUDENTS = {"GemNet-dT": "gemnet_dt", "PaiNN": "painn", "GemNet-T": "gemnet_t"}
SPICE = ("monomers", "solvated_aa", "iodine")

TABLE_5 = """
Number of Spherical | 7
Radial Basis Functions | 6
Blocks | 4
Atom Embedding Size | 64
Edge Embedding Size | 64
Triplet Embedding Size | 32
RBF Embedding Size | 16
CBF Embedding Size | 16
Bilinear Triplet Embedding Size | 64
Number Before Skip | 1
Number After Skip | 1
Number of Concatenations | 1
Number of Atoms | 2
Cutoff | 5.0 (SPICE) / 6.0 (MPtrj)
Maximum Neighbors | 50
RBF Function | Gaussian
Envelope Function | Polynomial (Exponent: 5)
CBF Function | Spherical Harmonics
Output Initialization | HeOrthogonal
Activation Function | SiLU
"""
TABLE_6 = """
Hidden Channels | 128
Layers | 4
Radial Basis Functions | 128
Cutoff | 12.0 (SPICE) / [14.0 / 16.0 / 6.0] (MPtrj)
Maximum Neighbors | 50
"""
TABLE_7 = """
Initial Learning Rate | 0.001 | 0.001
Optimizer | AdamW | AdamW
Weight Decay | 0.000002 | 0.000002
Amsgrad | True | True
Adam epsilon | 1.e-7 | 1.e-7
Scheduler | ReduceLROnPlateau | ReduceLROnPlateau
Patience | 5 | 10
Factor | 0.8 | 0.8
Minimum Learning Rate | 0.000001 | 0.000005
EMA Decay | 0.999 | 0.999
Clip Gradient Norm | 10 | 10
"""
TABLE_8 = """
Monomers | GemNet-dT | 600
Monomers | PaiNN | 1400
Monomers | GemNet-T | 500
Solvated Amino Acids | GemNet-dT | 2000
Solvated Amino Acids | PaiNN | 1000
Solvated Amino Acids | GemNet-T | 2500
Systems with Iodine | GemNet-dT | 600
Systems with Iodine | PaiNN | 1500
Systems with Iodine | GemNet-T | 600
Pm3m Spacegroup | GemNet-dT | 500
Pm3m Spacegroup | PaiNN | 500
Pm3m Spacegroup | GemNet-T | 500
Systems with Yttrium | GemNet-dT | 500
Systems with Yttrium | PaiNN | 1000
Systems with Yttrium | GemNet-T | 500
Band Gap | GemNet-dT | 350
Band Gap | PaiNN | 1000
"""
TABLE_9 = """
Monomers | 5 | 100 | 20 | 400
Solvated Amino Acids | 5 | 100 | 20 | 400
Systems with Iodine | 5 | 100 | 20 | 400
Pm3m Spacegroup | 5 | 100 | 10 | 200
Systems with Yttrium | 5 | 100 | 10 | 200
Band Gap | 5 | 100 | 10 | 200
"""
TABLE_10 = """
Monomers | 4 | 8
Solvated Amino Acids | 4 | 4
Systems with Iodine | 4 | 8
Pm3m Spacegroup | 16 | 16
Systems with Yttrium | 16 | 16
Band Gap | 32 | 32
"""
TABLE_11 = """
Monomers | 4 | 4
Solvated Amino Acids | 1 | 1
Systems with Iodine | 4 | 4
Pm3m Spacegroup | 4 | 4
Systems with Yttrium | 1 | 4
Band Gap | 1 | 4
"""


def lines(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")] for line in table.strip().splitlines()]


EPOCHS = {(DATA[data], STUDENTS[student]): int(epochs) for data, student, epochs in lines(TABLE_8)}
PAIRS = list(EPOCHS)
WEIGHTS = {DATA[data]: [float(cell) for cell in cells] for data, *cells in lines(TABLE_9)}
PAINN_CUTOFFS = {**dict.fromkeys(SPICE, 12.0), "pm3m": 14.0, "yttrium": 16.0, "bandgap5": 6.0}  # table 6


def of_student(table: str) -> dict[tuple[str, str], int]:
    """A table whose columns are GemNet and PaiNN, by data and student."""
    rows = {DATA[data]: (int(gemnet), int(painn)) for data, gemnet, painn in lines(table)}
    return {(data, student): rows[data][student == "painn"] for data, student in PAIRS}


BATCH_SIZES, ROWS = of_student(TABLE_10), of_student(TABLE_11)


@functools.cache  # composing takes a third of a second
def recipe(data: str, student: str, *more: str) -> DictConfig:
    return composed(f"data={data}", f"student={student}", "method=joint", *more)


def test_the_paper_has_a_recipe_for_every_pair_but_one():
    assert {(data, student) for data in DATA.values() for student in STUDENTS.values()} - set(PAIRS) == {
        ("bandgap5", "gemnet_t")
    }


@pytest.mark.parametrize(("data", "student"), PAIRS)
def test_tables_8_to_11_are_the_recipe_of_each_pair(data, student):
    config = recipe(data, student)
    assert config.trainer.max_epochs == EPOCHS[data, student]
    assert config.trainer.max_steps == -1
    weights = [config.method.terms[name].weight for name in ("energy", "forces", "atomic_energy", "hessian")]
    assert weights == WEIGHTS[data]
    assert config.data.batch_size == BATCH_SIZES[data, student]
    assert config.method.terms.hessian.rows == ROWS[data, student]


@pytest.mark.parametrize(("data", "student"), PAIRS)
def test_table_7_is_the_recipe_of_each_pair(data, student):
    config = recipe(data, student)
    table = {name: (painn if student == "painn" else gemnet) for name, gemnet, painn in lines(TABLE_7)}
    optimizer, scheduler = config.optimizer, config.schedulers[config.schedule]
    assert optimizer._target_ == f"torch.optim.{table['Optimizer']}"
    assert optimizer.lr == float(table["Initial Learning Rate"])
    assert optimizer.weight_decay == float(table["Weight Decay"])
    assert str(optimizer.amsgrad) == table["Amsgrad"]
    assert optimizer.eps == float(table["Adam epsilon"])
    assert scheduler._target_ == f"torch.optim.lr_scheduler.{table['Scheduler']}"
    assert scheduler.patience == int(table["Patience"])
    assert scheduler.factor == float(table["Factor"])
    assert scheduler.min_lr == float(table["Minimum Learning Rate"])
    assert config.callbacks.ema.decay == float(table["EMA Decay"])
    assert config.trainer.gradient_clip_val == float(table["Clip Gradient Norm"])


@pytest.mark.parametrize("student", STUDENTS.values())
def test_the_preset_of_the_paper_keeps_the_cap_of_tables_5_and_6(student):
    table = dict(lines(TABLE_6 if student == "painn" else TABLE_5))
    assert recipe("iodine", student, "preset=paper").student.max_neighbors == int(table["Maximum Neighbors"])
    assert recipe("iodine", student).student.max_neighbors is None


@pytest.mark.parametrize(("data", "student"), [pair for pair in PAIRS if pair[1] != "painn"])
def test_table_5_is_every_gemnet(data, student):
    config = recipe(data, student).student
    assert (config.spherical, config.radial, config.blocks, config.width) == (7, 6, 4, 64)
    assert config.cutoff == (5.0 if data in SPICE else 6.0)
    assert config.conservative == (student == "gemnet_t")


def test_the_sizes_of_table_5_follow_from_the_width():
    table = {name: int(value) for name, value in lines(TABLE_5) if value.isdigit()}
    model = instantiate(recipe("solvated_aa", "gemnet_dt").student)
    block = model.interactions[0]
    assert len(model.interactions) == table["Blocks"]
    assert model.embedding.embedding_dim == table["Atom Embedding Size"]
    assert model.edge_embedding.weight.shape[0] == table["Edge Embedding Size"]
    assert block.triplets.down.weight.shape[0] == table["Triplet Embedding Size"]
    assert block.triplets.bilinear.shape[0] == table["Bilinear Triplet Embedding Size"]
    narrow = block.triplets.bilinear.shape[1] // table["Triplet Embedding Size"]
    assert narrow == table["CBF Embedding Size"]
    assert model.circular.weight.shape == (table["Number of Spherical"] * narrow, table["Radial Basis Functions"])
    for dense in (model.radial_triplet, model.radial_atom, model.radial_output):
        assert dense.weight.shape == (table["RBF Embedding Size"], table["Radial Basis Functions"])
    for part, count in (("before_skip", "Number Before Skip"), ("after_skip", "Number After Skip")):
        assert count_residual(block, part) == table[count]
    assert count_residual(block, "residual") == table["Number of Concatenations"]
    assert sum(type(layer).__name__ == "Residual" for layer in block.atoms.layers) == table["Number of Atoms"]
    assert model.envelope.exponent == 5
    assert type(block.skip.activation).__name__ == "ScaledSiLU"
    rows = block.skip.weight.detach()  # HeOrthogonal: mean zero, variance 1 / width
    torch.testing.assert_close(rows.mean(1), torch.zeros(64), atol=1e-5, rtol=0)
    torch.testing.assert_close(rows.var(1), torch.full((64,), 1 / 64), atol=1e-3, rtol=0)


def count_residual(block: torch.nn.Module, part: str) -> int:
    """The number of residual layers of that name in a block."""
    return sum(name == part and type(module).__name__ == "Residual" for name, module in block.named_children())


@pytest.mark.parametrize("data", DATA.values())
def test_table_6_is_every_painn(data):
    config = recipe(data, "painn").student
    table = dict(lines(TABLE_6))
    assert config.width == int(table["Hidden Channels"])
    assert config.layers == int(table["Layers"])
    assert config.radial == int(table["Radial Basis Functions"])
    assert config.cutoff == PAINN_CUTOFFS[data]


@pytest.mark.parametrize("method", ["none", "hessian", "atomic_energy", "joint"])
def test_a_recipe_serves_every_method(method):
    config = composed("data=pm3m", "student=painn", f"method={method}")
    assert config.method.terms.forces.weight == 100
    assert ("hessian" in config.method.terms) == (method != "none")


def test_the_command_line_overrides_the_recipe():
    config = recipe("iodine", "painn", "trainer.max_epochs=3", "weights.atomic_energy=7", "hessian.rows=2")
    assert config.trainer.max_epochs == 3
    assert config.method.terms.atomic_energy.weight == 7
    assert config.method.terms.hessian.rows == 2


def test_without_a_recipe_of_the_pair_the_schedule_is_that_of_the_student():
    config = recipe("bandgap5", "gemnet_t")
    assert (config.schedulers.plateau.patience, config.schedulers.plateau.min_lr) == (5, 1e-6)
    assert config.trainer.max_epochs == 1000


def test_the_preset_of_the_paper_changes_these_options_only():
    before, after = (recipe("iodine", "painn", *more) for more in ((), ("preset=paper",)))
    changed = flat(after).items() - flat(before).items()
    assert dict(changed) == {
        "student.max_neighbors": 50,
        "student.smooth": False,
        "data.split.by": "frame",
        "data.max_force": float("inf"),
        "hessian.limit": 1e4,
        "method.terms.hessian.limit": 1e4,
        "label.validation": True,
        "method.trust": "constant",
        "callbacks.trust.trust": "constant",
        "callbacks.halving._target_": "jointkd.training.callbacks.near_teacher.HalveNearTeacher",
        "callbacks.halving.within": 0.05,
        "callbacks.halving.every": 20,
    }
    assert not flat(before).keys() - flat(after).keys()


def flat(config: DictConfig) -> dict:
    """All options that are not dictionaries."""
    options = flatten(OmegaConf.to_container(config, resolve=True))
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in options.items()
        if not isinstance(value, dict)
    }


@pytest.mark.parametrize("student", STUDENTS.values())
def test_the_preset_uses_the_reference_implementation_of_painn(student):
    assert recipe("iodine", student, "preset=paper").student.get("smooth") == (False if student == "painn" else None)


@pytest.mark.parametrize("data", ["pm3m", "yttrium", "bandgap5"])
def test_the_preset_uses_the_corrected_energies_of_mptrj(data):
    assert recipe(data, "painn", "preset=paper").data.energy == "corrected"
    assert recipe(data, "painn").data.energy == "uncorrected"


@pytest.mark.parametrize("student", ["painn", "gemnet_dt", "gemnet_t"])
@pytest.mark.parametrize("data", ["solvated_aa", "demo"])
def test_students_for_dynamics_are_conservative_and_local_whatever_the_recipe(student, data):
    chosen = recipe(data, student, "preset=md").student
    assert chosen.conservative
    assert chosen.cutoff == 5.0
    assert chosen.width == (64 if student == "painn" else 32)
