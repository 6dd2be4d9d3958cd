"""The embedded example: its molecules, its data and its teacher, and the scripts that made them."""
