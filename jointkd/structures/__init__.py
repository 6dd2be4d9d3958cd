"""The values that everything exchanges: frames, batches, predictions, neighbours."""
