"""Teachers: what makes labels. Needed while labelling only; training reads the cached labels."""
