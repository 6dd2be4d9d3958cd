"""The command line: Hydra configurations, checks of their options, and one-line messages for users' mistakes."""
