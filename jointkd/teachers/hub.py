"""Files of the Hugging Face hub."""

import logging
from pathlib import Path

from jointkd.errors import TeacherError, first_line

log = logging.getLogger(__name__)


def fetch(
    repo: str, filename: str, subfolder: str | None = None, revision: str | None = None, cache: str | None = None
) -> Path:
    """The path of a file of the Hugging Face hub, downloaded unless it is in the cache. Raises TeacherError."""
    from huggingface_hub import errors, hf_hub_download

    page = f"https://huggingface.co/{repo}"
    local = "download it elsewhere and give it as teacher.checkpoint=FILE"
    log.info("%s of %s: from the cache, or downloaded into it", filename, page)
    try:
        return Path(hf_hub_download(repo, filename, subfolder=subfolder, revision=revision, cache_dir=cache))
    except errors.LocalEntryNotFoundError as error:
        raise TeacherError(f"{filename} is not in the cache, and {page} cannot be reached", local) from error
    except errors.GatedRepoError as error:
        raise TeacherError(
            f"{page} gives access to {filename} only on request",
            "accept its licence there, then run `hf auth login`, or set HF_TOKEN to a token that may read it",
        ) from error
    except (errors.RepositoryNotFoundError, errors.EntryNotFoundError) as error:
        raise TeacherError(
            f"{filename} does not exist at {page}, or is not visible to you",
            f"name another repository with teacher.repo=ORGANISATION/NAME, log in with `hf auth login`, or {local}",
        ) from error
    except (errors.HfHubHTTPError, OSError) as error:
        raise TeacherError(f"{filename} of {page} could not be downloaded ({first_line(error)})", local) from error
