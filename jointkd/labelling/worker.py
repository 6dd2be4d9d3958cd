"""python -m jointkd.labelling.worker DIRECTORY: carries out the job that another interpreter wrote to a directory."""

import logging
import sys
from pathlib import Path

from jointkd.errors import user_error
from jointkd.labelling.remote import read_job, report_error


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    folder = Path(sys.argv[1])
    try:
        read_job(folder).carry_out()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except Exception as error:
        reported = user_error(error)
        if reported is None:
            raise
        report_error(folder, reported)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
