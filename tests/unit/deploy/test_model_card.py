"""What a model card says, what it says of what is not known, and what it warns of."""

from dataclasses import replace

import pytest

from jointkd.deploy.model_card import CardFacts, Drift, Gate, TeacherFacts, card_text

BARE = CardFacts(
    name="mine",
    architecture="PaiNN",
    parameters=93457,
    precision="float32",
    elements=(1, 8),
    cutoff=4.5,
    hops=3,
    conservative=True,
    max_neighbors=None,
    repulsion=True,
)


def line(text: str, start: str) -> str:
    """The only line that begins so."""
    (found,) = [line for line in text.splitlines() if line.startswith(start)]
    return found


def test_what_is_not_recorded_is_said_to_be_unknown():
    text = card_text(BARE)
    assert line(text, "- data:") == "- data: unknown; structures: unknown"
    assert line(text, "- teacher:") == "- teacher: unknown"
    assert "Unknown: the file records none." in text
    assert "Not tested: no acceptance test is recorded with this student." in text
    assert "None" not in text


def test_a_run_without_a_teacher_has_none_which_is_known():
    assert line(card_text(replace(BARE, method="none")), "- teacher:") == "- teacher: none"


def test_labels_of_the_teacher_in_place_of_missing_ones_are_counted_and_what_they_weighed_at_the_end_is_said():
    facts = replace(BARE, from_teacher={"energies": 40, "forces": 1200}, teacher_shares={"hessian": 0.0, "forces": 0.5})
    text = card_text(facts)
    assert line(text, "- training structures without").endswith(
        "have the teacher's: energies of 40 and forces of 1,200"
    )
    assert line(text, "- what the teacher's labels counted").endswith("term of the loss: hessian 0 %, forces 50 %")
    whole = card_text(replace(BARE, from_teacher={"energies": 0, "forces": 0}, teacher_shares={"hessian": 1.0}))
    assert "without reference labels" not in whole
    assert "labels counted" not in whole


def test_the_receptive_field_is_as_many_cutoffs_as_the_student_has_hops():
    assert line(card_text(BARE), "| receptive field").startswith("| receptive field | 13.5 Å (3 hops)")
    assert line(card_text(replace(BARE, hops=None)), "| receptive field") == "| receptive field | unknown |"


def test_errors_are_beside_those_of_the_teacher():
    facts = replace(
        BARE,
        structures={"train": 36, "test": 108},
        test={"force_mae_meV_per_A": 78.36, "hessian_row_mae_eV_per_A2": 0.0853, "energy_mae_meV_per_atom": 3.7},
        teacher_test={"force_mae_meV_per_A": 42.7},
    )
    text = card_text(facts)
    assert "Of 108 structures that were not trained on:" in text
    assert "| force MAE, meV/Å | 78.4 | 42.7 |" in text
    assert "| energy MAE, meV/atom | 3.7 | unknown |" in text
    assert "| Hessian row MAE (to the teacher), eV/Å² | 0.0853 | – |" in text


def test_compositions_whose_total_energy_is_an_estimate_are_named():
    text = card_text(replace(BARE, undetermined=({1: 0.447, 8: -0.894},)))
    assert "the combinations -0.89 O +0.45 H are estimates" in text
    assert "- reaction energies" in text
    assert "- reaction energies" not in card_text(BARE)


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        ({}, "elements other than H O"),
        (
            {},
            "charges, spin states, or long-range electrostatics: it sees elements and positions, and nothing beyond",
        ),
        ({"conservative": False}, "dynamics that must conserve energy (drift: not measured), stress"),
        (
            {"conservative": False, "drift": Drift(2.345, 0.1, 300.0, "H2O")},
            "dynamics that must conserve energy (drift: measured: 2.35 meV/atom/ps), stress",
        ),
        ({"max_neighbors": 50}, "properties that need smooth energies, such as phonons: the cap of 50 neighbours"),
        ({"repulsion": False}, "atoms closer than in its training structures"),
        ({"has_references": False}, "reaction energies"),
        ({"accepted": False, "gates": ()}, "production, before the criteria that failed"),
        (
            {"teacher": TeacherFacts("off", "ASL (non-commercial)")},
            "commercial purposes, as far as the teacher's licence",
        ),
        ({"teacher": TeacherFacts("mine")}, "commercial purposes, before you know the teacher's licence"),
        ({"elements": ()}, "elements that it was not trained on"),
    ],
)
def test_what_the_student_must_not_be_used_for_follows_from_the_facts(change, warning):
    assert line(card_text(replace(BARE, **change)), f"- {warning}")
    if change:
        assert f"- {warning}" not in card_text(BARE)


@pytest.mark.parametrize("licence", ["MIT", "LGPL-3.0 (tblite)", "FAIR Chemistry License v1, with its policy"])
def test_a_licence_that_permits_commercial_use_is_no_warning(licence):
    assert "commercial" not in card_text(replace(BARE, teacher=TeacherFacts("free", licence)))


def test_a_teacher_of_which_nothing_was_learned_restricts_nothing():
    text = card_text(replace(BARE, teacher=TeacherFacts("off", "ASL (non-commercial)"), taught=False))
    assert line(text, "- teacher:") == "- teacher: off, for comparison only"
    assert "commercial purposes" not in text


def test_criteria_of_the_acceptance_test_are_listed():
    gates = (Gate("stable", True, "10 ps", "5 ps"), Gate("drift", False, "3", "1"))
    text = card_text(replace(BARE, accepted=False, gates=gates))
    assert "The acceptance test was **not passed**." in text
    assert "| stable | 10 ps | 5 ps | passed |" in text
    assert "| drift | 3 | 1 | **failed** |" in text


def test_words_of_a_file_stay_one_cell_of_one_line():
    facts = replace(BARE, teacher=TeacherFacts("a|b\n# c", "MIT"), data="x\n\n# y")
    assert "\n# c" not in card_text(facts)
    assert line(card_text(facts), "- data:") == "- data: x # y; structures: unknown"
