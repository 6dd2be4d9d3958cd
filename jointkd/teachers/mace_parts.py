"""Memory-efficient symmetric contraction and convolution for many Hessian rows of one structure.

Both replace modules of mace-torch, compute the same function, and are twice differentiable, as forces and Hessian rows
require.
"""

from typing import Any

from jointkd.teachers.mace_contraction import SymmetricContraction
from jointkd.teachers.mace_convolution import Convolution

HIGHEST_ORDER = 3  # of the products in a symmetric contraction; all published models have 3


def replace_modules(module: Any) -> None:
    """Replace the convolutions and symmetric contractions of a MACE model; modules of unknown kinds stay."""
    from e3nn.o3 import TensorProduct
    from mace.modules import symmetric_contraction

    for interaction in module.interactions:
        if isinstance(interaction.conv_tp, TensorProduct) and not hasattr(interaction, "conv_fusion"):
            interaction.conv_tp = Convolution(interaction.conv_tp)
            interaction.conv_fusion = True  # mace-torch then passes the edges, and expects the sums over edges
    for product in module.products:
        contraction: Any = product.symmetric_contractions
        if isinstance(contraction, symmetric_contraction.SymmetricContraction):
            parts: Any = contraction.contractions
            if all(part.correlation <= HIGHEST_ORDER for part in parts):
                product.symmetric_contractions = SymmetricContraction(contraction)
