"""Time and memory of reading a made-up file of the structure of MPtrj_2022.9_full.json.

    python -m tests.benchmarks.mptrj --megabytes 400

Prints one line of JSON: megabytes and frames per second of process time, and the peak of memory above what was in use
before reading. One material has 300 frames of 186 atoms, because the peak is set by the largest material and not by
the size of the file: compare two sizes.
"""

import argparse
import json
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from jointkd.data.readers.mptrj import read
from tests import mptrj


def peak() -> float:
    """The most memory this process had in use, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=400)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mptrj.json"
        with ProcessPoolExecutor(1) as other:  # what writing needs does not count
            written = other.submit(mptrj.large, path, parser.parse_args().megabytes).result()
        before, started = peak(), time.process_time()
        count = sum(1 for _ in read(path)[0])
        seconds, size = time.process_time() - started, path.stat().st_size / 1e6
    assert count == written
    result = {
        "MB": round(size),
        "frames": count,
        "MB_per_s": round(size / seconds, 1),
        "frames_per_s": round(count / seconds),
        "peak_MB": round(peak()),
        "peak_above_start_MB": round(peak() - before),
        "hours_for_11.35_GB": round(11350 / (size / seconds) / 3600, 2),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
