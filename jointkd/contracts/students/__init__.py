"""The contract of students: symmetries, locality, derivatives to the third order, precisions and files."""

from jointkd.contracts.students.derivatives import Derivatives
from jointkd.contracts.students.locality import Locality
from jointkd.contracts.students.storage import Storage
from jointkd.contracts.students.symmetry import Symmetries


class StudentContract(Storage, Derivatives, Locality, Symmetries):
    """What must hold for every student; a subclass sets `config` (see `BuiltStudent`).

        class TestMine(StudentContract):
            config = {"_target_": "my_module.MyStudent", "width": 16, "cutoff": 4.0}

    Small widths and a short cutoff are enough, and fast. Errors are relative to the largest value of what is compared.
    """
