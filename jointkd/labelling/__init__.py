"""Fills a label store with a teacher's labels."""
