"""python -m jointkd.labelling.worker DIRECTORY: what one interpreter asks of another that has the teacher's package."""

import logging
import sys
from pathlib import Path

from jointkd.cli.command import as_mistake
from jointkd.labelling.remote import answer, received


def main() -> None:
    from jointkd.labelling.jobs import carry_out

    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    folder = Path(sys.argv[1])
    try:
        carry_out(received(folder))
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except Exception as error:
        mistake = as_mistake(error)
        if mistake is None:
            raise
        answer(folder, mistake)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
