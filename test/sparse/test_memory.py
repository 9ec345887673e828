"""Memory that is freed stays in the process. In a process of its own, since the setting lasts."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource
import torch
from cmdfusion_ros.sparse.memory import keep_freed_memory

def faults_of_a_second_block():
    torch.ones(16_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(16_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

torch.set_num_threads(1)
before = faults_of_a_second_block()
kept = keep_freed_memory()
print(int(kept), before, faults_of_a_second_block())
"""


def test_a_second_large_block_costs_no_page_faults():
    kept, before, after = map(int, subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout.split())
    if not kept:
        pytest.skip("the C library has no mallopt")
    assert before > 1000 and after < 100  # 64 MB are 15625 pages of 4 KiB
