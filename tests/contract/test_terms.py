"""What every term must satisfy: those of conf/method, with every norm, and with their options."""

import pytest
from hydra.utils import instantiate

from jointkd.cli.config_tree import choices
from jointkd.contracts.terms import TermContract
from jointkd.training.loss import NORMS, AtomicEnergy, Hessian, Term
from tests.configurations import composed


def terms() -> dict[str, Term]:
    """The terms of all methods by name, with every norm; of equal ones the first."""
    named = {}
    for method in choices("method"):
        config = composed(f"method={method}", "hessian.rows=2", *(["teacher=none"] if method == "none" else []))
        for name, options in config.method.terms.items():
            for norm in NORMS:
                named.setdefault(f"{name}-{norm}", instantiate(options, norm=norm))
    return {
        **named,
        "atomic_energy-spread": AtomicEnergy(20.0, "mae", spread=0.5),
        "hessian-limit": Hessian(400.0, "l2", rows=3, limit=2.5),
    }


TERMS = terms()


class TestTerms(TermContract):
    @pytest.fixture(autouse=True, params=TERMS.values(), ids=TERMS)
    def _term(self, request: pytest.FixtureRequest) -> None:
        self.term = request.param
