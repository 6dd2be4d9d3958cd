"""Where a teacher is built: in this process, or by the interpreter of another environment that has its package.

The other interpreter gets its job as a file and writes into the same label store; errors come back as a file.
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
from pathlib import Path
from typing import Any

from jointkd import __version__, errors
from jointkd.cli.config_tree import PACKAGE
from jointkd.errors import ConfigError, MissingExtra, TeacherError, UserError
from jointkd.labelling.loop import leave_on_sigterm
from jointkd.teachers.base import Teacher, log_identity
from jointkd.teachers.spec import TeacherSpec

log = logging.getLogger(__name__)

ENVIRONMENTS = {"mace": ".venv", "fairchem": ".venv-fairchem"}  # by extra: those that the Makefile makes
JOB, ERROR = "job.pickle", "error.json"
WORKER = "jointkd.labelling.worker"
PATIENCE = 20  # s for the other interpreter to stop; what it has committed is safe in any case


def load_teacher(spec: TeacherSpec) -> Teacher | Path:
    """The teacher, whose identity is logged; or the interpreter of the environment that is to label.

    That is `teacher.python`, or where the teacher's package is not here the one that `make` made for it. Raises
    MissingExtra where there is none.
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
    """The interpreter that the user names. Raises ConfigError where there is none."""
    path = shutil.which(Path(python).expanduser())
    if path is None:
        raise ConfigError(
            f"teacher.python={python} must be a Python interpreter", "give the path of an environment's bin/python"
        )
    return Path(path).absolute()  # not resolved: a link into an environment is what makes it that environment


def interpreter_with(missing: MissingExtra) -> Path:
    """The interpreter that `make` has made for an extra, beside the checkout or here. Raises `missing` without one."""
    for parent in (Path.cwd(), PACKAGE.parent):
        environment = parent / ENVIRONMENTS.get(missing.extra or "", "")
        python = environment / "bin" / "python"
        if missing.extra in ENVIRONMENTS and python.exists() and environment.resolve() != Path(sys.prefix).resolve():
            return python
    raise missing


def run_remote(python: Path, job: Any) -> None:
    """Have another interpreter carry out a job, its output shown. What it raises as UserError is raised here.

    It ends with this process, however that ends. Raises TeacherError where it fails otherwise.
    """
    probe = [str(python), "-c", "import jointkd.labelling.jobs; print(jointkd.__version__)"]
    version = subprocess.run(probe, capture_output=True, text=True).stdout.strip()
    if version != __version__:
        which = f"has jointkd {version}, and this is {__version__}" if version else "has no jointkd that starts"
        raise TeacherError(f"{python} {which}", "install this one there, as `make env-fairchem` does")
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
    """Interrupt the other interpreter as Ctrl-C does, and kill it where it does not end in time."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def read_error(folder: Path, python: Path, status: int) -> UserError:
    """Why the other interpreter failed: the error that it reported, or how it ended."""
    if (folder / ERROR).exists():
        reported = json.loads((folder / ERROR).read_text())
        return getattr(errors, reported["kind"])(reported["problem"], reported["remedy"])
    how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
    return TeacherError(f"labelling by {python} {how}", "see its last output above; what it had committed is kept")


def read_job(folder: Path) -> Any:
    """Worker side: read the job; interrupt this process when the parent exits (its end of our stdin closes).

    Ctrl-C interrupts it too, also where a shell has started it in the background.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def watch() -> None:
        os.read(sys.stdin.fileno(), 1)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=watch, daemon=True).start()
    return pickle.loads((folder / JOB).read_bytes())


def report_error(folder: Path, mistake: UserError) -> None:
    """Worker side: write down why the job cannot be done."""
    reported = {"kind": type(mistake).__name__, "problem": mistake.problem, "remedy": mistake.remedy}
    (folder / ERROR).write_text(json.dumps(reported))
