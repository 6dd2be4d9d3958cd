"""What other programs call the options of jointkd, so that a name from one of them is answered with the one here."""

from collections.abc import Collection, Iterator

OTHER_NAMES = {
    "callbacks.early_stopping.patience": ("patience", "early_stopping_patience"),
    "callbacks.ema.decay": ("ema_decay",),
    "ckpt_path": ("resume", "restart", "restart_latest", "resume_from", "resume_from_checkpoint"),
    "data.batch_size": ("batch", "batchsize", "bs", "train_batch_size"),
    "data.energy_key": ("ref_energy_name",),
    "data.forces_key": ("force_key", "ref_forces_name"),
    "data.path": ("data_path", "train_file", "dataset", "file", "filename", "input", "xyz"),
    "data.test": ("test_file", "test_path", "test_data"),
    "data.train": ("train_file", "train_path", "train_data", "training_file"),
    "data.val": ("valid_file", "val_file", "val_path", "validation_file", "valid_data"),
    "data.workers": ("num_workers", "n_workers"),
    "finetune": ("foundation_model", "pretrained", "pretrained_model", "fine_tune"),
    "hydra.run.dir": ("output_dir", "out_dir", "outdir", "log_dir", "work_dir", "save_dir", "results_dir"),
    "method": ("loss", "objective"),
    "name": ("run_name", "experiment_name"),
    "optimizer.lr": ("learning_rate", "initial_lr", "learningrate"),
    "optimizer.weight_decay": ("wd",),
    "output": ("out", "output_file", "outfile"),
    "run": ("model", "model_path", "student", "folder", "model_file", "checkpoint_path"),
    "runs": ("folder", "directory"),
    "seed": ("random_seed", "rng_seed"),
    "steps": ("n_steps", "num_steps", "nsteps", "md_steps"),
    "structures": ("input", "file", "filename", "xyz", "atoms", "configs"),
    "student": ("model", "architecture", "arch", "network"),
    "student.cutoff": ("r_max", "rmax", "rcut", "r_cut", "cutoff_radius"),
    "student.layers": ("num_layers", "n_layers", "num_interactions", "n_interactions", "num_blocks"),
    "student.radial": ("num_rbf", "n_rbf", "num_radial", "num_radial_basis"),
    "student.width": ("hidden_channels", "hidden_dim", "num_features", "n_atom_basis", "num_channels", "emb_size"),
    "temperature": ("temp", "t", "temperature_k"),
    "timestep": ("dt", "time_step"),
    "trainer.accelerator": ("device", "gpu", "cuda"),
    "trainer.devices": ("gpus", "n_gpus", "num_gpus", "ngpus"),
    "trainer.gradient_clip_val": ("grad_clip", "clip_grad", "clip_grad_norm", "max_grad_norm", "gradient_clip"),
    "trainer.max_epochs": ("epochs", "num_epochs", "n_epochs", "max_num_epochs", "max_epoch", "nepochs"),
    "weights.energy": ("energy_weight", "energy_coefficient", "energy_loss_weight"),
    "weights.forces": ("forces_weight", "force_weight", "force_coefficient", "forces_loss_weight"),
}
MOST = 3  # options of one name in several groups, such as `rows`; more are no hint


def meant_by(name: str, known: Collection[str]) -> list[str]:
    """The options that a name without, or with another, group most likely stands for; [] where none is likely.

    name: dotted, as it was written; known: the dotted names of the options of a command.
    """
    word = name.rpartition(".")[2].replace("-", "_").lower()
    found = list(named_otherwise(word, known)) or [option for option in known if option.rpartition(".")[2] == word]
    return found if len(found) <= MOST else []


def named_otherwise(word: str, known: Collection[str]) -> Iterator[str]:
    """The options of a command that other programs call so."""
    for option, names in OTHER_NAMES.items():
        if word in names and (option in known or (option.startswith("hydra.") and "method" in known)):
            yield option
