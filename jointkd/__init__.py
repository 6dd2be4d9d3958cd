"""jointkd: distil a foundation force field into a small, fast one with atomic energies and Hessian rows."""

__version__ = "0.1.0"
