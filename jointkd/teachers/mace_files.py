"""mace-torch itself, and the files of its foundation models: from its cache, or fetched into it."""

import contextlib
import hashlib
import io
import logging
import os
import warnings
from pathlib import Path
from urllib.parse import urlsplit

from jointkd.errors import MissingExtra, TeacherError
from jointkd.files.downloads import fetch

log = logging.getLogger(__name__)


def import_mace() -> None:
    """Import mace-torch in silence (and before e3nn, whose constants load only then). Raises MissingExtra."""
    warnings.filterwarnings("ignore", message=".*TorchScript.*|.*weights_only.*", category=UserWarning)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            import mace.calculators  # noqa: F401
    except ImportError as error:
        raise MissingExtra(
            "MACE teachers need mace-torch, which is not here",
            "pip install 'jointkd[mace]', or give teacher.python=INTERPRETER of an environment that has it",
            extra="mace",
        ) from error
    os.environ.pop("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", None)  # set by mace-torch: it would trust every later pickle


def fetch_known(family: str, size: str) -> Path:
    """The file of a foundation model that mace-torch knows. Raises TeacherError."""
    from mace.calculators import foundations_models

    known = {
        "mace_off": list(foundations_models.mace_off_urls),
        "mace_mp": [entry for entry in foundations_models.mace_mp_names if entry],
    }[family]
    if size not in known:
        raise TeacherError(f"teacher.size={size!r} is no {family} model", f"choose one of {', '.join(known)}")
    log.info("%s model %r: from %s, fetched into it where it is not there yet", family, size, cache())
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return fetch_off(size) if family == "mace_off" else fetch_mp(size)
    except (RuntimeError, OSError) as error:
        raise TeacherError(
            f"the {family} model {size!r} could not be fetched ({error})",
            f"fetch it elsewhere and give it as teacher=mace teacher.checkpoint=FILE, or put it into {cache()}",
        ) from error


def fetch_url(url: str, sha256: str | None) -> Path:
    """The file of a URL in mace-torch's cache, in a folder of that URL's own. Raises DataError, StorageError.

    Without its publisher's checksum that of the first download is kept beside it, and compared with from then on.
    """
    import_mace()
    folder = cache() / hashlib.sha256(url.encode()).hexdigest()[:8]
    path = fetch(url, folder / Path(urlsplit(url).path).name, sha256)
    if sha256 is None:
        log.warning("%s is a pickle without a publisher's checksum (teacher.sha256): whoever serves it is trusted", url)
    return path


def fetch_mp(size: str) -> Path:
    """The file of a MACE-MP model in mace-torch's cache, fetched where it is not there yet."""
    from mace.calculators import foundations_models

    return Path(foundations_models.download_mace_mp_checkpoint(size))


def fetch_off(size: str) -> Path:
    """The file of a MACE-OFF model in mace-torch's cache, fetched where it is not there yet.

    Not by mace-torch's own function, which also loads the model and trusts it.
    """
    from mace.calculators import foundations_models

    url = foundations_models.mace_off_urls[size]
    target = cache() / Path(url).name
    if not target.exists():
        fetch_mp(url).replace(target)
    return target


def cache() -> Path:
    """Where mace-torch keeps what it fetched."""
    from mace.calculators.foundations_models import get_cache_dir

    return Path(get_cache_dir())
