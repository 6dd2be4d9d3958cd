"""The cache of teacher labels: what a label is, and the store that keeps it."""
