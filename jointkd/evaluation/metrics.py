"""The metrics of the paper's tables: what each is, and how test results are shown."""

from collections.abc import Mapping

METRICS = {
    "energy_mae_meV_per_atom": "mean over structures of |Ê - E| / N",
    "force_mae_meV_per_A": "mean over force components of |F̂ - F|",
    "atomic_energy_mae_meV": "mean over atoms of |Ê_i - E_i of the teacher|",
    "hessian_row_mae_eV_per_A2": "mean over entries of the sampled rows of |Ĥ - H of the teacher|",
}


def without_stage(logged: Mapping[str, float]) -> dict[str, float]:
    """What the trainer logged at its test, by the metrics' own names."""
    return {name.removeprefix("test/"): value for name, value in logged.items()}


def metrics_table(metrics: Mapping[str, float]) -> str:
    """Test metrics as aligned lines."""
    return "\n".join(["test", *(f"  {name:<28}{value:10.3f}" for name, value in metrics.items())])
