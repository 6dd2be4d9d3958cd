"""Files that are there whole or not at all, downloads, and pickles read without running code."""
