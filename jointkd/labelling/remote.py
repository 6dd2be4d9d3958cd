"""Where a teacher is built: here, or by another interpreter whose environment has its package; only files cross."""

import copy
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

from hydra.utils import instantiate
from omegaconf import DictConfig, open_dict

from jointkd import __version__, errors
from jointkd.cli.options import PACKAGE
from jointkd.errors import ConfigError, MissingExtra, TeacherError, UserError, behind
from jointkd.labelling.loop import leave_on_sigterm
from jointkd.teachers.base import Teacher, introduce

log = logging.getLogger(__name__)

ENVIRONMENTS = {"mace": ".venv", "fairchem": ".venv-fairchem"}  # by extra: what the Makefile makes
JOB, ANSWER = "job.pickle", "error.json"
COMMAND = "jointkd.labelling.worker"
PATIENCE = 20  # s for the other interpreter to stop; what it has committed is safe in any case


def load_teacher(config: DictConfig) -> Teacher | Path:
    """The configured teacher, introduced in a line; where another environment is to label, the interpreter there.

    That is `teacher.python`, or where the teacher's package is not here the one that `make` made for it. Raises
    MissingExtra where there is none.
    """
    if config.teacher.get("python"):
        return named(config.teacher.python)
    try:
        teacher = built_teacher(config)
    except Exception as error:  # Hydra wraps what a teacher raises
        missing = behind(error, MissingExtra)
        if missing is None:
            raise
        return found(missing)
    introduce(teacher.identity)
    return teacher


def built_teacher(config: DictConfig) -> Teacher:
    """The configured teacher, built here."""
    config = copy.deepcopy(config)  # the whole one: a teacher's options refer to others
    with open_dict(config):
        config.teacher.pop("python", None)
    return instantiate(config.teacher)


def named(python: str) -> Path:
    """The interpreter that the user named. Raises ConfigError where there is none."""
    path = shutil.which(Path(python).expanduser())
    if path is None:
        raise ConfigError(f"teacher.python={python} is no interpreter", "give the path of an environment's bin/python")
    return Path(path).absolute()  # not resolved: a link into an environment is what makes it that environment


def found(missing: MissingExtra) -> Path:
    """The interpreter that `make` has made for an extra, beside the checkout or here. Raises `missing` without one."""
    for parent in (Path.cwd(), PACKAGE.parent):
        environment = parent / ENVIRONMENTS.get(missing.extra or "", "")
        python = environment / "bin" / "python"
        if missing.extra in ENVIRONMENTS and python.exists() and environment.resolve() != Path(sys.prefix).resolve():
            return python
    raise missing


def have_done(python: Path, job: Any) -> None:
    """Have another interpreter do a job, its output shown. What it raises as UserError is raised here.

    It ends with this process, however that ends. Raises TeacherError where it fails otherwise.
    """
    probe = [str(python), "-c", "import jointkd.cli.command; print(jointkd.__version__)"]
    there = subprocess.run(probe, capture_output=True, text=True).stdout.strip()
    if there != __version__:
        which = f"has jointkd {there}, and this is {__version__}" if there else "has no jointkd that starts"
        raise TeacherError(f"{python} {which}", "install this one there, as `make env-fairchem` does")
    log.info("the teacher labels in another environment: %s", python)
    with tempfile.TemporaryDirectory(prefix="jointkd-") as folder, leave_on_sigterm():
        (Path(folder) / JOB).write_bytes(pickle.dumps(job))
        sys.stdout.flush()
        process = subprocess.Popen(
            [str(python), "-m", COMMAND, folder],
            stdin=subprocess.PIPE,  # which ends when this process does
            start_new_session=True,  # so that Ctrl-C reaches it once, from here
        )
        try:
            status = process.wait()
        except BaseException:
            stop(process)
            raise
        if status:
            raise reason(Path(folder), python, status)


def stop(process: "subprocess.Popen[bytes]") -> None:
    """End the other interpreter as Ctrl-C does, or at once where it does not listen."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def reason(folder: Path, python: Path, status: int) -> UserError:
    """Why the other interpreter failed: what it said, or that it said nothing that is for users."""
    if (folder / ANSWER).exists():
        said = json.loads((folder / ANSWER).read_text())
        return getattr(errors, said["kind"])(said["problem"], said["remedy"])
    how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
    return TeacherError(f"labelling by {python} {how}", "see above for its last words; what it had committed is kept")


def received(folder: Path) -> Any:
    """In the other interpreter: the job, and an end of this process when the one that gave it ends.

    Ctrl-C ends it too, which a shell forbids to what it starts in the background, and all that this starts.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def watch() -> None:
        os.read(sys.stdin.fileno(), 1)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=watch, daemon=True).start()
    return pickle.loads((folder / JOB).read_bytes())


def answer(folder: Path, mistake: UserError) -> None:
    """In the other interpreter: say why the job cannot be done."""
    said = {"kind": type(mistake).__name__, "problem": mistake.problem, "remedy": mistake.remedy}
    (folder / ANSWER).write_text(json.dumps(said))
