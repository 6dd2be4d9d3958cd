"""Labelling by the interpreter of another environment, for teachers whose package is not installed in this one.

The other interpreter reads its job from a file, writes into the same label store, and reports errors in a file.
"""

import json
import logging
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from jointkd import __version__, errors
from jointkd.cli.config_tree import PACKAGE
from jointkd.errors import ConfigError, MissingExtra, TeacherError, UserError
from jointkd.labelling.sigterm import leave_on_sigterm
from jointkd.teachers.base import Teacher, log_identity
from jointkd.teachers.spec import TeacherSpec

log = logging.getLogger(__name__)

ENVIRONMENTS = {"mace": ".venv", "fairchem": ".venv-fairchem"}  # by extra: the environments that the Makefile creates
JOB, ERROR = "job.pickle", "error.json"
WORKER = "jointkd.labelling.worker"
PATIENCE = 20  # s; the other interpreter is killed if it does not stop within; committed labels are safe


def load_teacher(spec: TeacherSpec) -> Teacher | Path:
    """Build the teacher and log its identity; or return the interpreter of the environment that is to label.

    That is `teacher.python`, or if the teacher's package is missing here, the one of the environment that `make`
    created for it. Raises MissingExtra if there is no such environment.
    """
    if spec.python:
        return interpreter(spec.python)
    try:
        teacher = spec.build()
    except MissingExtra as missing:
        return interpreter_with(missing)
    log_identity(teacher.identity)
    return teacher


def interpreter(python: str) -> Path:
    """The path of the interpreter that `teacher.python` names. Raises ConfigError if it does not exist."""
    path = shutil.which(Path(python).expanduser())
    if path is None:
        raise ConfigError(
            f"teacher.python={python} must be a Python interpreter", "give the path of an environment's bin/python"
        )
    return Path(path).absolute()  # not resolved: the link itself selects the environment


def interpreter_with(missing: MissingExtra) -> Path:
    """The interpreter of the environment that `make` creates for an extra, in the current directory or in the checkout.

    Raises `missing` if it does not exist.
    """
    for parent in (Path.cwd(), PACKAGE.parent):
        environment = parent / ENVIRONMENTS.get(missing.extra or "", "")
        python = environment / "bin" / "python"
        if missing.extra in ENVIRONMENTS and python.exists() and environment.resolve() != Path(sys.prefix).resolve():
            return python
    raise missing


def run_remote(python: Path, job: Any) -> None:
    """Run a job in another interpreter, which shares the output and ends with this process, for whatever reason.

    Raises the UserError that the job raises, TeacherError if the other interpreter fails in another way.
    """
    probe = [str(python), "-c", "import jointkd.labelling.jobs; print(jointkd.__version__)"]
    version = subprocess.run(probe, capture_output=True, text=True).stdout.strip()
    if version != __version__:
        problem = f"has jointkd {version} instead of {__version__}" if version else "cannot import jointkd"
        raise TeacherError(f"{python} {problem}", "install this version there, as `make env-fairchem` does")
    log.info("the teacher labels in another environment: %s", python)
    with tempfile.TemporaryDirectory(prefix="jointkd-") as folder, leave_on_sigterm():
        (Path(folder) / JOB).write_bytes(pickle.dumps(job))
        sys.stdout.flush()
        process = subprocess.Popen(
            [str(python), "-m", WORKER, folder],
            stdin=subprocess.PIPE,  # closed when this process ends
            start_new_session=True,  # so that Ctrl-C reaches it once, from here
        )
        try:
            status = process.wait()
        except BaseException:
            stop(process)
            raise
        if status:
            raise read_error(Path(folder), python, status)


def stop(process: "subprocess.Popen[bytes]") -> None:
    """Interrupt the other interpreter as Ctrl-C does, and kill it if it does not end in time."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def read_error(folder: Path, python: Path, status: int) -> UserError:
    """The error that the other interpreter reported; else a TeacherError with its exit status."""
    if (folder / ERROR).exists():
        reported = json.loads((folder / ERROR).read_text(encoding="utf-8"))
        return getattr(errors, reported["kind"])(reported["problem"], reported["remedy"])
    end = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
    return TeacherError(f"labelling by {python} {end}", "see its last output above; committed labels are kept")


def read_job(folder: Path) -> Any:
    """Worker side: read the job, and interrupt this process when the parent exits (its end of our stdin closes).

    Ctrl-C interrupts it too, even if a shell has started the parent in the background. It is killed if it does not stop
    in time, as Python swallows an interrupt that comes while it finalises an object; committed labels are safe.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def watch() -> None:
        os.read(sys.stdin.fileno(), 1)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(PATIENCE)
        os._exit(128 + signal.SIGINT)

    threading.Thread(target=watch, daemon=True).start()
    return pickle.loads((folder / JOB).read_bytes())


def report_error(folder: Path, error: UserError) -> None:
    """Worker side: write the error for `read_error`."""
    reported = {"kind": type(error).__name__, "problem": error.problem, "remedy": error.remedy}
    (folder / ERROR).write_text(json.dumps(reported), encoding="utf-8")
