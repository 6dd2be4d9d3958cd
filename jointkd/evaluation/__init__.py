"""Errors of predictions against reference data and teacher labels."""
