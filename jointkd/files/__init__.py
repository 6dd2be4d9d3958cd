"""Atomic writes, memory-mapped arrays, downloads, and pickles that are read without running code."""
