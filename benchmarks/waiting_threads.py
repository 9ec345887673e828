#!/usr/bin/env python3
"""What it costs that OpenMP's threads spin while they wait, beside other jobs and on an idle
machine: seconds a training step, for each way to wait.

    python benchmarks/waiting_threads.py [--steps 12] [--busy N] [--json FILE]

`--busy N` keeps N cores busy meanwhile (default: as many as there are, less one). Each way trains
in a process of its own with torch's own number of threads, on two made-up streets; a way that takes
over two minutes is ended.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RECIPE = """\
name: waiting
model: {{network: spv_unet, channels: 16, voxel_size: 0.15, widths: slim}}
train: {{root: streets, called: streets, sequences: [all]}}
augment: {{sector: 90.0}}
batch_size: 2
save_every: 1000
steps: {steps}
"""
WAYS = {
    "as OpenMP does (GOMP_SPINCOUNT=300000)": {"GOMP_SPINCOUNT": "300000"},
    "ours (GOMP_SPINCOUNT=2000)": {},
    "not at all (OMP_WAIT_POLICY=PASSIVE)": {"OMP_WAIT_POLICY": "PASSIVE"},
    "one thread (OMP_NUM_THREADS=1)": {"OMP_NUM_THREADS": "1"},
}
COMMAND = [sys.executable, "-m", "cmdfusion_ros"]


def seconds_a_step(folder: Path, name: str) -> float:
    """Median over the steps but the first two."""
    said = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    clean = {
        key: value
        for key, value in os.environ.items()
        if key not in said and not key.endswith("_NUM_THREADS")
    }
    out = folder / name.partition(" ")[0]
    command = [*COMMAND, "train", str(folder / "recipe.yaml"), "--data", str(folder)]
    try:
        subprocess.run(
            [*command, "--out", str(out)],
            env={**clean, **WAYS[name]},
            capture_output=True,
            timeout=120,
        )
    except subprocess.TimeoutExpired:
        pass
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    found = sorted(row["seconds"] for row in rows[2:] if "seconds" in row)
    return found[len(found) // 2]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--busy", type=int, default=max(1, (os.cpu_count() or 2) - 1))
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        streets = ["world", "--sequences", "2", "--scans", "2", "--no-images"]
        subprocess.run([*COMMAND, *streets, "--out", str(folder / "streets")], check=True)
        (folder / "recipe.yaml").write_text(RECIPE.format(steps=args.steps))
        loops = [
            subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(args.busy)
        ]
        try:
            time.sleep(1)
            found = {name: seconds_a_step(folder, name) for name in WAYS}
        finally:
            for process in loops:
                process.kill()
    ours = found["ours (GOMP_SPINCOUNT=2000)"]
    print(f"{os.cpu_count()} cores, {args.busy} kept busy")
    for name, seconds in found.items():
        print(f"{name:40}{seconds:8.3f} s a step{seconds / ours:8.2f} x ours")
    if args.json:
        args.json.write_text(json.dumps({"busy": args.busy, "seconds": found}) + "\n")


if __name__ == "__main__":
    main()
