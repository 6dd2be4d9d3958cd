"""Freed memory is kept for the next step."""

import subprocess
import sys

import pytest

STEPS = """
import resource, sys
import numpy
from jointkd.memory import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()
for step in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    arrays = [numpy.ones((10, 2**17)) for _ in range(20)]  # 10 MB each
    del arrays
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode: str) -> int:
    """Pages that the third step of a fresh process had to be given."""
    return int(subprocess.run([sys.executable, "-c", STEPS, mode], capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc gives memory back")
def test_a_step_touches_pages_that_the_step_before_it_freed():
    given_back = faults("given back")
    if given_back < 5_000:
        pytest.skip("this C library keeps freed memory by itself")
    assert faults("kept") < given_back / 100
