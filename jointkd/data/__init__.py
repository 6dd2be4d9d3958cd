"""From raw files to batches: readers, splits, references and the datamodule."""
