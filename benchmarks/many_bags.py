#!/usr/bin/env python3
"""Labelling several bags: one worker, two, a Ray cluster of two nodes on this machine, and the two
with a worker that is killed in the middle of a bag.

    python benchmarks/many_bags.py BAG [--bags N] [--clouds N] [--ways NAME ...] [--json FILE]

The bags are parts of BAG, each a cloud later than the one before, with all that was recorded around
them. Every way must write the same bytes (SHA-256 of each file); printed are seconds, clouds a
second and, of workers of this machine, CPU seconds, which other jobs on it change less.
"""

import argparse
import hashlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cmdfusion_ros.data.bags.bag import Bag, BagWriter
from cmdfusion_ros.data.bags.bag_layout import inspect_bag

WAYS = ("1 worker", "2 workers", "2 workers, one killed", "Ray", "Ray, one killed")
KILLED = 1  # which bag's worker is killed


def copy_part(source: Path, path: Path, first: int, clouds: int) -> None:
    """Copy `clouds` clouds of a bag from the `first` on, what was recorded in a tenth of a second
    around them, and what is latched.
    """
    layout = inspect_bag(source)
    with Bag(source) as bag, BagWriter(path) as writer:
        times = [message.time for message in bag.messages([layout.cloud_topic])]
        begin, end = times[first] - 50_000_000, times[first + clouds - 1] + 50_000_000
        for message in bag.messages(stop=end):
            if message.time >= begin or bag.topics[message.topic].latched:
                writer.copy(message, bag)


def digests(out: Path) -> dict[str, str]:
    """{file: SHA-256} of all bags of labels."""
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.glob("*/*"))
    }


@contextmanager
def two_nodes() -> Iterator[str]:
    """The address of a Ray cluster of two nodes with a core each, and a head that does nothing."""
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": 80 << 20}
    head = {"num_cpus": 0, "include_dashboard": False, **small}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1, **small)
        yield cluster.address
    finally:
        cluster.shutdown()


def worker_of(out: Path, name: str) -> int:
    """The process that labels a bag, once it has begun to write; 0 before."""
    if not list(out.glob(f".partial.*/*/{name}/*.mcap")):
        return 0
    told = re.search(r", process (\d+)\n", (out / f"{name}.log").read_text())
    if told:
        return int(told[1])
    for process in Path("/proc").glob("[0-9]*"):
        try:
            last = (process / "cmdline").read_bytes().split(b"\0")[-2:-1]
        except OSError:
            continue
        if (
            last
            and last[0].decode().startswith(f"{out}/.partial.")
            and last[0].endswith(f"/{name}".encode())
        ):
            return int(process.name)
    return 0


def run(bags: list[Path], out: Path, words: list[str], kill: bool) -> dict[str, Any]:
    """Label all bags; what it took and what came of it."""
    command = [sys.executable, "-m", "cmdfusion_ros", "label", *map(str, bags), "--out", str(out)]
    started, used = time.monotonic(), _cpu_seconds()
    with open(out.with_suffix(".said"), "w+") as said:
        process = subprocess.Popen([*command, "--device", "cpu", *words], stdout=said, stderr=said)
        killed = 0
        while kill and not killed and process.poll() is None:
            killed = worker_of(out, bags[KILLED].name)
            if killed:
                os.kill(killed, signal.SIGKILL)
            time.sleep(0.005)
        code = process.wait()
        said.seek(0)
        text = said.read()
    if code:
        raise SystemExit(text)
    seconds = time.monotonic() - started
    clouds = int(re.findall(r"bags  (\d+) clouds", text)[-1])
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(_cpu_seconds() - used, 1),
        "clouds": clouds,
        "again": text.count("; again"),
        "files": digests(out),
    }


def _cpu_seconds() -> float:
    """Of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(way: str, bags: list[Path], out: Path) -> dict[str, Any]:
    """`run` in one of the `WAYS`."""
    kill = way.endswith("killed")
    if not way.startswith("Ray"):
        return run(bags, out, ["--processes", way[0]], kill)
    with two_nodes() as address:
        found = run(bags, out, ["--cluster", address], kill)
    del found["cpu_seconds"]  # those of the nodes are not this process's to know
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bag", metavar="BAG", type=Path)
    parser.add_argument("--bags", type=int, default=8, metavar="N")
    parser.add_argument("--clouds", type=int, default=4, metavar="N", help="in each bag")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS, metavar="NAME")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args(arguments)
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        bags = [Path(folder) / "bags" / f"bag_{number}" for number in range(args.bags)]
        for first, bag in enumerate(bags):
            copy_part(args.bag, bag, first, args.clouds)
        for number, way in enumerate(args.ways):
            found[way] = now = measure(way, bags, Path(folder) / f"labels_{number}")
            base = found[args.ways[0]]
            same = "same bytes" if now["files"] == base["files"] else "OTHER BYTES"
            cpu = f"{now['cpu_seconds']:6.1f} CPU s" if "cpu_seconds" in now else " " * 12
            print(
                f"{way:22} {now['seconds']:6.1f} s {cpu}  {now['clouds'] / now['seconds']:.2f} "
                f"clouds a second, {base['seconds'] / now['seconds']:.2f} times {args.ways[0]}; "
                f"{len(now['files'])} files, {same}; done again: {now['again']}",
                flush=True,
            )
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")
    equal = all(each["files"] == found[args.ways[0]]["files"] for each in found.values())
    return 0 if equal else 1


if __name__ == "__main__":
    raise SystemExit(main())
