"""Freed memory is kept for the next step."""

import platform
import subprocess
import sys

import pytest

STEPS = """
import resource, sys
import numpy
from jointkd.runtime import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()
for step in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    arrays = [numpy.ones((120, 2**17)) for _ in range(18)]  # 2.3 GB, more than a number of 32 bits counts
    del arrays
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode: str) -> int:
    """Pages that the second step of a fresh process had to be given."""
    return int(subprocess.run([sys.executable, "-c", STEPS, mode], capture_output=True, text=True, check=True).stdout)


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives memory back")
def test_a_step_touches_pages_that_the_step_before_it_freed():
    assert faults("kept") < faults("given back") / 10
