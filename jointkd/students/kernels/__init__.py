"""Faster forms of what students compute on a processor."""
