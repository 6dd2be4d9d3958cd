"""Gates that a student passes before it is used."""
