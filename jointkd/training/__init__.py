"""The LightningModule, its loss, its callbacks, and what a run leaves in its folder."""
