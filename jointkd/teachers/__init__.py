"""Teachers: foreign force fields that make labels. Training reads stored labels and needs no teacher."""
