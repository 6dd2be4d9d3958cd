"""Saving students."""

import torch
from torch import nn

from jointkd.students.student_file import SavedStudent, read_student, save_student


class Tied(nn.Module):
    """A student of which two layers share their weights, and a buffer is a part of a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3, bias=False)
        self.second = nn.Linear(3, 3, bias=False)
        self.second.weight = self.first.weight
        self.register_buffer("row", self.first.weight.detach()[1])


def test_a_student_whose_layers_share_weights_is_saved_and_read(tmp_path):
    student, other = Tied(), Tied()
    save_student(tmp_path / "student.safetensors", SavedStudent({}, student.state_dict(), {}, {}))
    other.load_state_dict(read_student(tmp_path / "student.safetensors").weights)
    assert torch.equal(other.first.weight, student.first.weight)
    assert other.second.weight is other.first.weight
    assert torch.equal(other.row, student.row)
