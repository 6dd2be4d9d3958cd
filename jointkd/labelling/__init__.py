"""Labelling: fills a label store with the labels of a teacher."""
