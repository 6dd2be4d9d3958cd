"""Readers of data files, which yield frames in eV and Å."""
