"""Molecular dynamics with a student, and whether it stays stable."""
