"""Packages of students that cannot be loaded here."""

import zipfile
from pathlib import Path

from jointkd.deploy.package import Description, describe, processor


def package_of_another_torch(folder: Path) -> Path:
    """A package that says that it was made by torch 1.0.0; there is no library in it."""
    file = folder / "student.aoti.pt2"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("student/version", "1")
    description = Description(
        form="aoti",
        torch="1.0.0",
        device="cpu",
        processor=processor("cpu"),
        dtype="float32",
        cutoff=4.0,
        max_neighbors=None,
        hops=2,
        conservative=True,
        elements=118,
        student={},
        student_sha256="",
        reference_energies={11: -4400.0, 17: -12500.0},
        undetermined=[],
        origin={},
        force_uncertainty=False,
    )
    describe(file, description)
    return file
