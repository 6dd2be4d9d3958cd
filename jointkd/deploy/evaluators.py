"""Which evaluator serves a model: that of a GPU where the form of its student allows it, else the general one."""

from typing import Any

import torch

from jointkd.deploy.evaluator import SKIN, Evaluator
from jointkd.deploy.graphed import GraphedEvaluator
from jointkd.deploy.graphed_systems import GraphedSystems
from jointkd.deploy.model import Model
from jointkd.deploy.skin import SkinNeighbors
from jointkd.deploy.tracing import TraceableForm
from jointkd.students.gemnet import GemNet
from jointkd.students.painn import PaiNN


def evaluator_of(model: Model) -> Evaluator | GraphedEvaluator:
    """The evaluator of a model, which has a state of its own."""
    if (graphed := graphed_systems_of(model)) is not None:
        return GraphedEvaluator(graphed)
    near = SkinNeighbors(model.cutoff, SKIN, model.max_neighbors)
    return Evaluator(model.form, near, model.device, model.dtype)


def graphed_systems_of(model: Model) -> GraphedSystems | None:
    """What evaluates structures with this model on a GPU; None where there is no GPU, or the form does not allow it."""
    plain = isinstance(model.student, PaiNN | GemNet) or model.student is None
    if torch.device(model.device).type != "cuda" or not plain or model.max_neighbors is not None:
        return None
    student: Any = model.student
    form = model.form if student is None else TraceableForm(student, model.uncertainty)
    return GraphedSystems(form, model.cutoff, model.device, model.dtype)
