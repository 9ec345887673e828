"""Gives hostile inputs to every door, and keeps those that one of them did not stand.

    python test/fuzz/hunt.py [--cases 1000000] [--seed 0] [--door NAME ...] [--guided] [--out DIR]

Each door is tried in a process of its own, which is ended where it hangs and begun anew where it
dies. `--guided` lets coverage choose the inputs (atheris: pip install '.[fuzz]'); what it learns
stays in DIR/<door>/corpus and is where the next night begins. Without it the same seed gives the
same inputs.

Exit code 1 where any input raised what its door does not declare, hung, killed the process, took
more memory than a case may, or where a process grew. The inputs lie in DIR/<door>/.
"""

import argparse
import contextlib
import faulthandler
import hashlib
import json
import mmap
import os
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from random import Random

TEST = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TEST.parent), str(TEST)]  # ours and the builders, from wherever this is called

from fuzz.door import MOST_BYTES, Fall, attempt  # noqa: E402

HANG = 120.0  # seconds without a finished case: it waits, or no bell is heard in there
MOST_GROWTH = 48 << 20  # bytes, of a process over the last four fifths of its cases
FEWEST_FOR_GROWTH = 3000  # cases; a young process still fills its caches
_ROOM = 2 << 30  # address space that a process may take on top of what it starts with
_HEAD = struct.Struct("<7Q")  # done, taken, refused, fallen, RSS after a fifth, RSS now, input
_TMPFS = "/dev/shm" if os.path.isdir("/dev/shm") else None


class Board:
    """What a process under attack writes where its death cannot take it: counts, and the input at
    hand.
    """

    def __init__(self):
        self._map = mmap.mmap(-1, _HEAD.size + (1 << 22))
        self.counts = [0] * 7

    def begin(self, data):
        self.counts[6] = len(data)
        self._map[_HEAD.size : _HEAD.size + len(data)] = data
        self._write()

    def end(self, outcome):
        self.counts[0] += 1
        self.counts[{"taken": 1, "refused": 2}.get(outcome, 3)] += 1
        self._write()

    def weigh(self, young):
        self.counts[4 if young else 5] = _rss()
        self._write()

    def read(self):
        """(done, taken, refused, fallen, young RSS, RSS, input)."""
        *counts, size = _HEAD.unpack_from(self._map)
        self.counts = [*counts, size]
        return (*counts, bytes(self._map[_HEAD.size : _HEAD.size + size]))

    def _write(self):
        _HEAD.pack_into(self._map, 0, *self.counts)


def _rss():
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE


def keep(out, kind, data, text):
    """Save an input that fell, one of each kind."""
    out.mkdir(parents=True, exist_ok=True)
    name = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in kind)[:80]
    if not (out / f"{name}.bin").exists():
        (out / f"{name}.bin").write_bytes(data)
        (out / f"{name}.txt").write_text(text)


def try_input(door, data, folder, board, out):
    board.begin(data)
    outcome = attempt(door, data, folder)
    if isinstance(outcome, Fall):
        keep(out, outcome.kind, data, outcome.text)
    board.end(outcome)


def prepare(door, inputs, folder):
    """One honest round, for which much is imported; then limits, and silence."""
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    warnings.simplefilter("ignore")
    for data in inputs:
        with contextlib.suppress(Exception):  # those that fall are tried again, and kept
            door.call(data, folder)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if "libasan" in os.environ.get("LD_PRELOAD", ""):  # it takes 20 TB of address space
        return
    space = int(Path("/proc/self/statm").read_text().split()[0]) * mmap.PAGESIZE + _ROOM
    resource.setrlimit(resource.RLIMIT_AS, (space, resource.RLIM_INFINITY))


def run_random(door, inputs, first, cases, seed, board, out, folder):
    """Cases `first` to `cases` of a seed: inputs changed once to four times."""
    for number in range(first, cases):
        random = Random(f"{seed}/{door.name}/{number}")
        data = inputs[number] if number < len(inputs) else random.choice(inputs)
        for _ in range(0 if number < len(inputs) else random.choice((1, 1, 2, 4))):
            data = door.mutate(data, random)[:MOST_BYTES]
        try_input(door, data, folder, board, out)
        if number == cases // 5 or number == cases - 1:
            board.weigh(number < cases - 1)


def run_guided(door, inputs, first, cases, seed, board, out, folder):
    """As many cases, chosen by atheris from what is new in the code that they reach."""
    import atheris

    learnt, seeds = out / "corpus", folder / "seeds"
    for place in (learnt, seeds):
        place.mkdir(parents=True, exist_ok=True)
    for data in inputs:
        (seeds / hashlib.sha1(data).hexdigest()).write_bytes(data)
    counted = 0

    def one(data):
        nonlocal counted
        try_input(door, data, folder, board, out)
        counted += 1
        if counted == cases // 5 or counted % 1000 == 0:
            board.weigh(counted == cases // 5)

    def change(data, most, number):
        random = Random(number)
        if random.random() < 0.5:
            return atheris.Mutate(data, most)
        return door.mutate(data, random)[:most]

    atheris.Setup(
        [
            *("hunt", f"-runs={cases - first}", f"-seed={seed + 1}", "-timeout=3600"),
            *("-rss_limit_mb=0", f"-max_len={MOST_BYTES}", "-print_final_stats=1"),
            *(str(learnt), str(seeds)),
        ],
        one,
        custom_mutator=change,
    )
    atheris.Fuzz()


def hunt(door, inputs, cases, seed, out, guided=False):
    """Try one door. Returns {cases, taken, refused, kinds: [...], seconds, growth_mb}."""
    board, started, first = Board(), time.monotonic(), 0
    out.mkdir(parents=True, exist_ok=True)
    while first < cases:
        child = os.fork()
        if not child:
            _child(door, inputs, first, cases, seed, board, out, guided)
        died = _watch(child, board)
        done, *_, data = board.read()
        if not died:
            break
        keep(out, died, data, f"process ended: {died}")
        board.end("fallen")
        first = done + 1
    done, taken, refused, _, young, old, _ = board.read()
    growth = old - young if young and not first else 0
    if growth > MOST_GROWTH and done >= FEWEST_FOR_GROWTH:
        keep(out, "growth", b"", f"{growth >> 20} MB more after {done} cases than after a fifth")
    return {
        "cases": done,
        "taken": taken,
        "refused": refused,
        "kinds": sorted(path.stem for path in out.glob("*.txt")),
        "seconds": round(time.monotonic() - started, 1),
        "growth_mb": round(growth / 2**20, 1),
    }


def _child(door, inputs, first, cases, seed, board, out, guided):
    code = 1
    faulthandler.disable()  # it is expected that a process dies
    try:
        log = os.open(out / "stderr.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 2)  # decoders talk there
        with tempfile.TemporaryDirectory(dir=_TMPFS) as folder:
            prepare(door, inputs, Path(folder))
            run = run_guided if guided else run_random
            run(door, inputs, first, cases, seed, board, out, Path(folder))
        code = 0
    except Exception:  # of ours: a door's own are kept
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def _watch(child, board):
    """Wait for a process; "" where it ended well, else how it ended. One that hangs is killed."""
    done, since = -1, time.monotonic()
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            if os.WIFSIGNALED(status):
                return f"signal-{signal.Signals(os.WTERMSIG(status)).name}"
            return f"exit-{os.WEXITSTATUS(status)}" if status else ""
        if board.read()[0] != done:
            done, since = board.read()[0], time.monotonic()
        elif time.monotonic() - since > HANG:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "hang"
        time.sleep(0.05)


def open_doors(guided):
    """(DOORS, inputs_of); with the code that they lead to watched by atheris."""
    watch = contextlib.nullcontext()
    if guided:
        import atheris

        watch = atheris.instrument_imports(include=["cmdfusion_ros", "rosbags", "yaml"])
    with watch:
        from fuzz.doors import DOORS, inputs_of
    return DOORS, inputs_of


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=1_000_000, help="of all doors together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--door", action="append", default=[], help="only these (repeat for more)")
    parser.add_argument("--guided", action="store_true", help="let coverage choose (atheris)")
    parser.add_argument("--out", type=Path, default=Path("runs/fuzz"), help="what falls goes here")
    parser.add_argument("--json", type=Path, help="write the counts here")
    args = parser.parse_args()
    doors, inputs_of = open_doors(args.guided)
    chosen = [doors[name] for name in args.door or doors]
    shares = sum(door.share for door in chosen)
    result = {}
    for door in chosen:
        cases = round(args.cases * door.share / shares)
        inputs = inputs_of(door.name)
        found = hunt(door, inputs, cases, args.seed, args.out / door.name, args.guided)
        result[door.name] = found
        fallen = f"FALLEN: {', '.join(found['kinds'])}" if found["kinds"] else "stood"
        print(
            f"{door.name:12}{found['cases']:9} cases {found['taken']:8} taken "
            f"{found['refused']:8} refused {found['seconds']:8} s {found['growth_mb']:+6} MB  "
            f"{fallen}",
            flush=True,
        )
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{sum(found['cases'] for found in result.values())} cases")
    return int(any(found["kinds"] for found in result.values()))


if __name__ == "__main__":
    raise SystemExit(main())
