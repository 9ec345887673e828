"""Times that mean something on a machine that does other work too."""

import os
import statistics
import time
from pathlib import Path

LONG_ENOUGH = 0.05  # seconds a sample lasts at least, so that the kernel's count of busy time (10 ms steps) can tell who was running
QUIET = 0.1  # a sample counts where other processes took less than this share of one core
PATIENCE = 4  # times as many rounds as asked for, at most, while samples are disturbed


def measure_in_turn(ways, rounds):
    """Run every way in turn, again and again, so that all see the same machine.

    Samples during which other processes (or the hypervisor) took CPU are dropped, as long as others can be had: up to PATIENCE * rounds are taken, then the
    least disturbed ones count.

    Args:
        ways: {name: function}, each run once before, so that caches are warm.
        rounds: samples to keep of each.

    Returns:
        ({name: median seconds of one call}, share of a core that others took, on average, during the samples that count).
    """
    samples = {name: [] for name in ways}  # (others' share, seconds)
    calls = {name: _calls(way) for name, way in ways.items()}
    for turn in range(PATIENCE * rounds):
        if turn >= rounds and all(sum(share < QUIET for share, _ in taken) >= rounds for taken in samples.values()):
            break
        for name, way in ways.items():
            samples[name].append(_sample(way, calls[name]))
    kept = {name: sorted(taken)[:rounds] for name, taken in samples.items()}
    disturbance = statistics.mean(share for taken in kept.values() for share, _ in taken)
    return {name: statistics.median(seconds for _, seconds in taken) for name, taken in kept.items()}, disturbance


def _calls(way):
    """How often a way is called in one sample."""
    started = time.perf_counter()
    way()
    return max(1, int(LONG_ENOUGH / max(time.perf_counter() - started, 1e-6)))


def _sample(way, calls):
    """(share of a core that others took meanwhile, seconds of one call)."""
    busy, own, started = _busy_seconds(), time.process_time(), time.perf_counter()
    for _ in range(calls):
        way()
    seconds = time.perf_counter() - started
    others = _busy_seconds() - busy - (time.process_time() - own)
    return round(max(others / seconds, 0.0), 2), seconds / calls


def _busy_seconds(path=Path("/proc/stat")):
    """Seconds that all cores have worked since the machine started, time taken by the hypervisor included; 0 where Linux's /proc/stat is missing."""
    try:
        user, nice, system, _, _, irq, softirq, steal = (int(word) for word in path.read_text().split(maxsplit=9)[1:9])
    except OSError:
        return 0.0
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
