"""Times that mean something on a machine that does other work too."""

import os
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

# seconds a sample lasts at least, so that the kernel's count of busy time (10 ms steps) can tell
# who was running
LONG_ENOUGH = 0.05
# seconds before each sample: threads of the last one may still spin, waiting for more work
SETTLE = 0.02
QUIET = 0.1  # a sample counts where other processes took less than this share of one core
PATIENCE = 4  # times as many rounds as asked for, at most, while samples are disturbed


def measure_in_turn(
    ways: Mapping[str, Callable[[], Any]], rounds: int, one_thread: bool = False
) -> tuple[dict[str, float], float]:
    """Run every way in turn, again and again, so that all see the same machine.

    On one thread a sample is the CPU time of this process, which waiting for a core does not
    lengthen. On several it is wall time, and samples during which
    other processes (or the hypervisor) took CPU are dropped, as long as others can be had: up to
    PATIENCE * rounds are taken, then the least disturbed count.

    Args:
        ways: {name: function}, each run once before, so that caches are warm.
        rounds: samples to keep of each.
        one_thread: nothing of this process works beside the thread that calls.

    Returns:
        ({name: median seconds of one call}, share of a core that others took, on average, during
        the samples that count).
    """
    samples = {name: [] for name in ways}  # (others' share, seconds)
    calls = {name: _calls(way) for name, way in ways.items()}
    for turn in range(rounds if one_thread else PATIENCE * rounds):
        if turn >= rounds and all(
            sum(share < QUIET for share, _ in taken) >= rounds for taken in samples.values()
        ):
            break
        for name, way in ways.items():
            samples[name].append(_sample(way, calls[name], one_thread))
    kept = {name: sorted(taken)[:rounds] for name, taken in samples.items()}
    disturbance = statistics.mean(share for taken in kept.values() for share, _ in taken)
    return {
        name: statistics.median(seconds for _, seconds in taken) for name, taken in kept.items()
    }, disturbance


def _calls(way):
    """How often a way is called in one sample."""
    started = time.perf_counter()
    way()
    return max(1, int(LONG_ENOUGH / max(time.perf_counter() - started, 1e-6)))


def _sample(way, calls, one_thread):
    """(share of a core that others took meanwhile, seconds of one call)."""
    time.sleep(SETTLE)
    busy, own, started = _busy_seconds(), time.process_time(), time.perf_counter()
    for _ in range(calls):
        way()
    seconds, own = time.perf_counter() - started, time.process_time() - own
    others = max(_busy_seconds() - busy - own, 0.0)
    return round(others / seconds, 2), (own if one_thread else seconds) / calls


def _busy_seconds(path=Path("/proc/stat")):
    """Seconds that all cores have worked since the machine started, time taken by the hypervisor
    included; 0 where Linux's /proc/stat is missing.
    """
    try:
        user, nice, system, _, _, irq, softirq, steal = (
            int(word) for word in path.read_text().split(maxsplit=9)[1:9]
        )
    except OSError:
        return 0.0
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
