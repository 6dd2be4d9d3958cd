"""python -m jointkd.labelling.worker DIRECTORY: the job that another interpreter asks this environment to do."""

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
        mistake = user_error(error)
        if mistake is None:
            raise
        report_error(folder, mistake)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
