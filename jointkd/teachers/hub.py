"""Files of the Hugging Face hub."""

import logging
from pathlib import Path

from jointkd.errors import TeacherError, first_line

log = logging.getLogger(__name__)


def fetch(
    repo: str, filename: str, subfolder: str | None = None, revision: str | None = None, cache: str | None = None
) -> Path:
    """A file of the Hugging Face hub, from the cache or fetched into it. Raises TeacherError where it cannot be."""
    from huggingface_hub import errors, hf_hub_download

    page = f"https://huggingface.co/{repo}"
    local = "fetch it elsewhere and give it as teacher.checkpoint=FILE"
    log.info("%s of %s: from the cache, or fetched into it where it is not there yet", filename, page)
    try:
        return Path(hf_hub_download(repo, filename, subfolder=subfolder, revision=revision, cache_dir=cache))
    except errors.LocalEntryNotFoundError as error:
        raise TeacherError(f"{filename} is not in the cache, and {page} cannot be reached", local) from error
    except errors.GatedRepoError as error:
        raise TeacherError(
            f"{page} gives {filename} only to those whom it has let in",
            "accept its licence there, then run `hf auth login`, or set HF_TOKEN to a token that may read it",
        ) from error
    except (errors.RepositoryNotFoundError, errors.EntryNotFoundError) as error:
        raise TeacherError(
            f"there is no {filename} at {page} that you may see",
            f"name where it is now with teacher.repo=ORGANISATION/NAME, log in with `hf auth login`, or {local}",
        ) from error
    except (errors.HfHubHTTPError, OSError) as error:
        raise TeacherError(f"{filename} of {page} could not be fetched ({first_line(error)})", local) from error
