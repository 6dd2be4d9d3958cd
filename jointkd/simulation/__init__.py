"""Molecular dynamics with a student, and the stability of its bonds."""
