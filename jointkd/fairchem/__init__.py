"""Checkpoints of fairchem-core 1.x, on which the prior art is built, made into students."""
