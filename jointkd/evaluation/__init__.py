"""How far predictions are from references."""
