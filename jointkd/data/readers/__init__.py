"""Readers of data files: each gives frames in eV and Å."""
