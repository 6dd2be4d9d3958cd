"""Training: the LightningModule, its loss, its callbacks, and the files of a run."""
