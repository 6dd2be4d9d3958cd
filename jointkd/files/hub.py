"""Files on the Hugging Face hub: one is fetched into its cache, or several are pushed as one commit."""

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from jointkd.errors import ConfigError, DataError, MissingExtra, first_line

log = logging.getLogger(__name__)

SCHEME = "hf:/"  # of which pathlib leaves one slash
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
ADDRESS = re.compile(rf"hf:/{{1,2}}(?P<repository>{REPOSITORY.pattern})(@(?P<revision>[\w./-]+))?")
MISSING = ("Repository", "Revision", "Entry")
LOGIN = "log in with `hf auth login`, or set HF_TOKEN to a token that may"


class HubAddress(NamedTuple):
    """A repository of the hub, written hf://USER/NAME or hf://USER/NAME@REVISION."""

    repository: str
    revision: str | None  # a branch, a tag or a commit; None for the newest

    @classmethod
    def of(cls, path: str | Path) -> "HubAddress | None":
        """The address that a path is, None for other paths. Raises ConfigError for one that is not whole."""
        if not str(path).startswith(SCHEME):
            return None
        found = ADDRESS.fullmatch(str(path))
        if found is None:
            raise ConfigError(f"{path} is not an address on the hub", "give hf://USER/NAME, or hf://USER/NAME@REVISION")
        return cls(found["repository"], found["revision"])


def fetch(address: HubAddress, filename: str) -> Path:
    """The path of a file of a repository in the hub's cache, where it is downloaded to unless it is there.

    Without a network, or with HF_HUB_OFFLINE=1, the file in the cache is taken. Raises DataError, MissingExtra.
    """
    hub = import_hub()
    page = f"{hub.constants.ENDPOINT}/{address.repository}"
    log.info("%s of %s: from the cache, or downloaded into it", filename, page)
    try:
        return Path(hub.hf_hub_download(address.repository, filename, revision=address.revision))
    except hub.errors.LocalEntryNotFoundError as error:
        raise DataError(
            f"{filename} of {address.repository} is not in the cache, and {page} cannot be reached",
            "connect to it once, or copy the file to here and give its path",
        ) from error
    except hub.errors.GatedRepoError as error:
        raise DataError(
            f"{page} gives access to {filename} only on request", f"ask for it there, and {LOGIN} read it"
        ) from error
    except tuple(getattr(hub.errors, f"{missing}NotFoundError") for missing in MISSING) as error:
        at = f" at {address.revision}" if address.revision else ""
        raise DataError(
            f"{filename}{at} does not exist in {page}, or is not visible to you", f"check the name, or {LOGIN} read it"
        ) from error
    except (hub.errors.HfHubHTTPError, OSError, ValueError) as error:
        raise DataError(f"{filename} of {page} could not be downloaded ({first_line(error)})", "try again") from error


def check_repository(repository: str) -> None:
    """Raise ConfigError for what is not the name of a repository, and MissingExtra without huggingface_hub."""
    if REPOSITORY.fullmatch(repository) is None:
        raise ConfigError(f"hub={repository} is not the name of a repository", "give hub=USER/NAME")
    import_hub()


def push(repository: str, files: Mapping[str, bytes | Path], private: bool, message: str) -> str:
    """Put files into a repository as one commit, and return the page. private: of a repository that is made for it.

    Files of the same names are replaced; their earlier contents stay in the history. Raises ConfigError, MissingExtra.
    """
    hub = import_hub()
    api = hub.HfApi()
    with push_errors(hub, f"{api.endpoint}/{repository}"):
        api.create_repo(repository, private=private, exist_ok=True)
        operations = [hub.CommitOperationAdd(name, content) for name, content in files.items()]
        api.create_commit(repository, operations, commit_message=message)
    return f"{api.endpoint}/{repository}"


@contextmanager
def push_errors(hub: ModuleType, page: str) -> Iterator[None]:
    """Within it, what the hub refuses becomes a ConfigError."""
    try:
        yield
    except hub.errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status in (401, 403):
            raise ConfigError(f"{page} does not let you write", f"{LOGIN} write there") from error
        raise ConfigError(f"{page} could not be written ({first_line(error)})", "try again") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{page} cannot be reached ({first_line(error)})", "try again with to=none hub=…") from error


def import_hub() -> ModuleType:
    """The package huggingface_hub. Raises MissingExtra."""
    try:
        import huggingface_hub.constants
        import huggingface_hub.errors  # noqa: F401 (modules of this package are there once they are imported)
    except ImportError as error:
        raise MissingExtra("huggingface_hub is not installed", "pip install 'jointkd[hub]'") from error
    return huggingface_hub
