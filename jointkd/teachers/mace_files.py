"""The import of mace-torch, and the files of its foundation models, which are downloaded into its cache."""

import contextlib
import hashlib
import io
import logging
import warnings
from pathlib import Path
from urllib.parse import urlsplit

from jointkd.errors import MissingExtra, TeacherError
from jointkd.files.downloads import fetch
from jointkd.files.foreign_loads import foreign_loads

log = logging.getLogger(__name__)


def import_mace() -> None:
    """Import mace-torch without its output, and before e3nn, which otherwise cannot load its constants.

    Raises MissingExtra if it is not installed.
    """
    warnings.filterwarnings("ignore", message=".*TorchScript.*|.*weights_only.*", category=UserWarning)
    try:
        with foreign_loads(), contextlib.redirect_stdout(io.StringIO()):
            import mace.calculators  # noqa: F401
    except ImportError as error:
        raise MissingExtra(
            "MACE teachers need mace-torch, which is not installed",
            "pip install 'jointkd[mace]', or give teacher.python=INTERPRETER of an environment that has it",
            extra="mace",
        ) from error


def fetch_known(family: str, size: str) -> Path:
    """The file of a foundation model that mace-torch knows by name. Raises TeacherError."""
    from mace.calculators import foundations_models

    known = {
        "mace_off": list(foundations_models.mace_off_urls),
        "mace_mp": [entry for entry in foundations_models.mace_mp_names if entry],
    }[family]
    if size not in known:
        raise TeacherError(
            f"teacher.size={size!r} must be the name of a {family} model", f"choose one of {', '.join(known)}"
        )
    log.info("%s model %r: from %s, or downloaded into it", family, size, cache())
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return fetch_off(size) if family == "mace_off" else fetch_mp(size)
    except (RuntimeError, OSError) as error:
        urls = foundations_models.mace_off_urls if family == "mace_off" else foundations_models.mace_mp_urls
        raise TeacherError(
            f"the {family} model {size!r} could not be downloaded ({error})",
            f"download {urls.get(size, 'it')} elsewhere and give the file as teacher=mace teacher.checkpoint=FILE, "
            f"or put it into {cache()}",
        ) from error


def fetch_url(url: str, sha256: str | None) -> Path:
    """The file of a URL, in a folder for this URL in mace-torch's cache. Raises DataError, StorageError.

    Without the publisher's checksum, that of the first download is recorded and later calls compare with it.
    """
    import_mace()
    folder = cache() / hashlib.sha256(url.encode()).hexdigest()[:8]
    path = fetch(url, folder / Path(urlsplit(url).path).name, sha256)
    if sha256 is None:
        log.warning("%s is a pickle without a publisher's checksum (teacher.sha256): its server is trusted", url)
    return path


def fetch_mp(size: str) -> Path:
    """The file of a MACE-MP model in mace-torch's cache, downloaded if necessary."""
    from mace.calculators import foundations_models

    return Path(foundations_models.download_mace_mp_checkpoint(size))


def fetch_off(size: str) -> Path:
    """The file of a MACE-OFF model in mace-torch's cache, downloaded if necessary.

    The function of mace-torch is not used because it also loads the file.
    """
    from mace.calculators import foundations_models

    url = foundations_models.mace_off_urls[size]
    target = cache() / Path(url).name
    if not target.exists():
        fetch_mp(url).replace(target)
    return target


def cache() -> Path:
    """The folder of mace-torch's downloads."""
    from mace.calculators.foundations_models import get_cache_dir

    return Path(get_cache_dir())
