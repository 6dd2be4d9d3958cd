"""Freed memory is kept for the next step."""

import platform
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
    arrays = [numpy.ones((120, 2**17)) for _ in range(20)]  # 126 MB each: more than a number of 32 bits counts
    del arrays
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode: str) -> int:
    """Pages that the third step of a fresh process had to be given."""
    return int(subprocess.run([sys.executable, "-c", STEPS, mode], capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives memory back")
def test_a_step_touches_pages_that_the_step_before_it_freed():
    assert faults("kept") < faults("given back") / 100
