"""The identity of teachers."""

from jointkd.labels.records import TeacherIdentity


def test_identities_of_older_labels_have_atomic_energies():
    old = TeacherIdentity("t", "0", "float64", (1,), {1: 0.0}).to_json()
    del old["atomic_energies"]
    assert TeacherIdentity.from_json(old).atomic_energies
