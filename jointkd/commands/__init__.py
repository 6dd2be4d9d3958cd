"""What each command does: a configuration becomes plain values, and these are handed to what does the work."""
