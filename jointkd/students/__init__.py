"""Small, fast force fields: plain torch modules `(positions, structure) → Prediction`, without data and loss."""
