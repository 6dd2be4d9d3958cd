"""Exports a student: one file for all sizes, as a compiled library or as a graph, compared with the student first."""

import logging
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import cast

import torch
from torch._inductor import aoti_compile_and_package
from torch._inductor.cpp_builder import get_cpp_compiler
from torch._inductor.exc import CppCompileError, InvalidCxxCompiler

from jointkd.deploy.kernels import write_kernels
from jointkd.deploy.model import Model, load_model
from jointkd.deploy.package import Description, describe, load_package, processor
from jointkd.deploy.parity import compare, elements_of, structures
from jointkd.deploy.tracing import trace
from jointkd.errors import ConfigError, first_line
from jointkd.files.atomic import file_sha256, storage_errors, write_whole
from jointkd.progress import format_time
from jointkd.runtime import compiler_options, device_of
from jointkd.students.gemnet import GemNet
from jointkd.students.painn import PaiNN
from jointkd.students.student_file import locate_student, target_of
from jointkd.trust import Consent

log = logging.getLogger(__name__)

FORMS = {
    "aoti": "a compiled library",
    "kernels": "compiled kernels",
    "exported": "a graph of torch.export",
    "metatomic": "a model of metatomic",
}
FASTEST = {"cpu": "aoti", "cuda": "kernels"}  # each for its device alone
SUFFIX = {"metatomic": ".pt"}  # others: .pt2
NO_PACKAGE = "none"  # the model card alone
EXPORTABLE = (PaiNN, GemNet)
HEARTBEAT = 15.0  # s between lines while the compiler says nothing


def export(
    run: str,
    to: str | None,
    output: str | None = None,
    device: str | None = None,
    dtype: str = "float32",
    trust: Consent = (),
) -> Path:
    """Write the package of a student and return its path. run: a run's folder or a student's file.

    to: one of `FORMS`, or None for the fastest on the device. output: None for a file beside the student's, which must
    not exist. Raises ConfigError for options that are not right and for students that are not `EXPORTABLE`, and
    DataError for files that are not a student's.
    """
    device = device_of(device)
    kind = torch.device(device).type
    to = to or FASTEST.get(kind, "exported")
    if to not in FORMS:
        raise ConfigError(f"to={to} is not known", f"choose one of {', '.join([*FORMS, NO_PACKAGE])}")
    if to in FASTEST.values() and FASTEST.get(kind) != to:
        raise ConfigError(f"to={to} is not for device={device}", f"choose to={FASTEST.get(kind, 'exported')}")
    source = locate_student(Path(run))
    target = Path(output) if output else source.with_name(f"{source.stem}.{to}{SUFFIX.get(to, '.pt2')}")
    require_new(target, card_of(target))
    model = load_model(source, device, dtype, trust)
    if not isinstance(model.student, EXPORTABLE):
        name = target_of(type(model.student)) if model.student else "a package"
        raise ConfigError(f"run={run} is {name}, which cannot be exported", "use the student's file as it is")
    with storage_errors(target, "output"):
        target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "student.pt2"
        if to == "metatomic":
            from jointkd.deploy.metatomic import write_metatomic

            write_metatomic(model, archive, source.stem)
        else:
            write_package(model, to, source, archive)
        with storage_errors(target, "output"):
            write_whole(target, archive.read_bytes())
    log.info("%s, %.1f MB, written to %s", FORMS[to], target.stat().st_size / 1e6, target)
    return target


def require_new(*files: Path) -> None:
    """Raise ConfigError for files that exist."""
    for file in files:
        if file.exists():
            raise ConfigError(f"output={file} exists already", "name another file with output=…, or remove it")


def card_of(package: Path) -> Path:
    """Where the model card of a package is written."""
    return package.with_name(f"{package.name}.md")


def write_package(model: Model, to: str, source: Path, archive: Path) -> None:
    """Write a package, again for a slower library where the first is wrong. source: the student's file."""
    description = description_of(model, cast(PaiNN | GemNet, model.student), to, file_sha256(source))
    try:
        write(model, description, archive, careful=False)
    except ConfigError as error:
        if to != "aoti":
            raise
        log.info("%s: compiled again, for a slower library", error.problem)
        write(model, description, archive, careful=True)


def write(model: Model, description: Description, archive: Path, careful: bool) -> None:
    """Write a package and compare it with the student. careful: see `build`. Raises ConfigError."""
    archive.unlink(missing_ok=True)
    build(model, description.form, archive, careful)
    describe(archive, description)
    check_parity(model, archive)


def build(model: Model, to: str, archive: Path, careful: bool) -> None:
    """Trace the student, compile it where a library is wanted, and write torch's part of the package.

    careful: without what torch's compiler does wrong on some processors.
    """
    if to == "aoti":
        require_compiler()
    *_, (_, example) = structures(elements_of(model), model.cutoff, model.device, model.dtype)
    with stage("tracing energies and their gradient"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, on its interior
        program = trace(cast(PaiNN | GemNet, model.student), example, model.uncertainty)
    if to == "exported":
        torch.export.save(program, archive)
        return
    if to == "kernels":
        with stage("compiling"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            write_kernels(program, example, archive)
        return
    with stage("compiling"), warnings.catch_warnings(), compiler_options() if careful else nullcontext():
        warnings.simplefilter("ignore")
        try:
            aoti_compile_and_package(program, package_path=str(archive))
        except CppCompileError as error:
            raise ConfigError(f"the C++ compiler failed ({first_line(error)})", "choose to=exported") from error


def require_compiler() -> None:
    """Raise ConfigError where there is no C++ compiler."""
    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as error:
        raise ConfigError("to=aoti needs a C++ compiler", "install g++ or clang, or choose to=exported") from error


def description_of(model: Model, student: PaiNN | GemNet, to: str, sha256: str) -> Description:
    """The description of a package that is made here and now."""
    device, saved = torch.device(model.device).type, model.saved
    return Description(
        form=to,
        torch=torch.__version__,
        device=device,
        processor=processor(device),
        dtype=str(model.dtype).removeprefix("torch."),
        cutoff=model.cutoff,
        max_neighbors=model.max_neighbors,
        hops=student.hops,
        conservative=model.conservative,
        elements=model.elements,
        student=saved.config,
        student_sha256=sha256,
        reference_energies=saved.reference_energies,
        undetermined=list(saved.undetermined),
        origin=saved.origin,
        force_uncertainty=model.gives_uncertainty,
    )


def check_parity(model: Model, archive: Path) -> None:
    """Compare a package, as it will be loaded, with the student. Raises ConfigError where they differ."""
    compare(model, load_package(archive, None, None, trust=True).form)


@contextmanager
def stage(task: str) -> Iterator[None]:
    """Log when a task begins, that it goes on, and how long it took."""
    started, done = time.monotonic(), threading.Event()

    def beat() -> None:
        while not done.wait(HEARTBEAT):
            log.info("%s: %s so far", task, format_time(time.monotonic() - started))

    log.info("%s …", task)
    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    log.info("%s took %s", task, format_time(time.monotonic() - started))
