"""Memory that is freed stays in the process. In a process of its own, since the setting lasts."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource
import torch
from cmdfusion_ros.sparse.memory import keep_freed_memory

def faults_of_ten_blocks():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(16_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

torch.set_num_threads(1)
before = faults_of_ten_blocks()
kept = keep_freed_memory()
# Aligned blocks creep up the heap a few times before they find a hole to fit.
faults_of_ten_blocks()
faults_of_ten_blocks()
print(int(kept), before, faults_of_ten_blocks())
"""


def test_large_blocks_stop_costing_page_faults():
    kept, before, after = map(
        int,
        subprocess.run(
            [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
        ).stdout.split(),
    )
    if not kept:
        pytest.skip("the C library has no mallopt")
    assert after < before / 4
