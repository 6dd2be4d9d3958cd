"""The command line: Hydra, what options exist and may hold, and one line for a user's mistake."""
