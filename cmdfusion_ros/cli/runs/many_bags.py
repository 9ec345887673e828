"""Several bags over the cores: one process a bag, each with one thread, so that the number of
workers changes no byte. A worker that was killed is started again; what is done is not done twice.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TRIES = 3  # of a bag whose worker is killed
_POLL_S = 0.1


@dataclass(frozen=True)
class BagJob:
    """One bag to label.

    Attributes:
        name: of the folder that it becomes. settings: what its bytes depend on, plain JSON values.
        words: the command without where it writes; the folder is added as its last word.
    """

    name: str
    settings: Mapping[str, Any]
    words: tuple[str, ...]


def file_sha256(path: str | Path) -> str:
    """Hexadecimal digest of a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def bag_fingerprint(path: str | Path) -> list[list[Any]]:
    """[name, bytes, modification time in ns] of each file of a bag."""
    path = Path(path)
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [
        [file.name, file.stat().st_size, file.stat().st_mtime_ns]
        for file in files
        if file.is_file()
    ]


def bag_names(bags: Sequence[str]) -> list[str]:
    """What the labels of each bag are called under --out.

    Raises:
        ValueError: two bags would get one name.
    """
    names = [Path(bag).resolve().stem for bag in bags]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"bags: expected a name each, got {', '.join(twice)} twice; rename one")
    return names


def run_jobs(
    jobs: Sequence[BagJob], out: Path, processes: int, resume: bool
) -> tuple[int, dict[str, Any]]:
    """Do all jobs: `out`/NAME is the bag of labels, NAME.log what its worker said and NAME.json
    that it is done, with its settings.

    Args:
        out: folder. processes: how many at a time. resume: leave out what is done with the same
            settings; without it `out` must not exist or be empty.

    Returns:
        The exit code: the highest of the bags'; and {"out", "bags": {name: its exit code}}.

    Raises:
        FileExistsError: `out` has something in it, without `resume`. ValueError: no processes; or a
            folder of that name is there that is no labels of ours.
    """
    if processes < 1:
        raise ValueError(f"--processes {processes}: expected 1 or more")
    if not resume and out.exists() and any(out.iterdir()):
        raise FileExistsError(
            f"--out {out}: is not empty; go on there with --resume, or choose another folder"
        )
    out.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(out)
    codes: dict[str, int] = {}
    waiting = []
    for job in jobs:
        done = _done(out, job) if resume else None
        if done is None:
            if (out / job.name).exists() and not (out / f"{job.name}.json").exists():
                raise ValueError(f"{out / job.name}: was not made by such a run; move it away")
            waiting.append((job, 1))
        else:
            codes[job.name] = done
            print(f"{job.name}: done before, exit code {done}", flush=True)
    partial = out / f".partial.{os.getpid()}"
    running: dict[str, tuple[BagJob, int, subprocess.Popen[bytes]]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                job, attempt = waiting.pop(0)
                running[job.name] = (job, attempt, _start(job, out, partial))
            time.sleep(_POLL_S)
            for job, attempt, process in list(running.values()):
                code = process.poll()
                if code is None:
                    continue
                del running[job.name]
                if code < 0 and attempt < _TRIES:
                    print(f"{job.name}: its worker was killed by signal {-code}; again", flush=True)
                    waiting.append((job, attempt + 1))
                    continue
                codes[job.name] = _finish(job, code, out, partial)
    finally:
        for _, _, process in running.values():
            process.terminate()
        for _, _, process in running.values():
            process.wait()
        shutil.rmtree(partial, ignore_errors=True)
    good = sum(code == 0 for code in codes.values())
    print(f"{good} of {len(jobs)} bags labelled with nothing to say against them: {out}")
    return max(codes.values(), default=0), {"out": str(out), "bags": codes}


def _remove_leftovers(out):
    """Remove the half bags of runs that were killed; those of a run that goes on stay."""
    for left in out.glob(".partial.*"):
        try:
            os.kill(int(left.suffix[1:]), 0)
        except ProcessLookupError:
            shutil.rmtree(left, ignore_errors=True)
        except (ValueError, PermissionError):
            continue


def _start(job, out, partial):
    place = partial / job.name
    shutil.rmtree(place, ignore_errors=True)
    partial.mkdir(exist_ok=True)
    one = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    with open(out / f"{job.name}.log", "wb") as log:
        return subprocess.Popen(
            [*job.words, str(place)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **dict.fromkeys(one, "1")},
        )


def _finish(job, code, out, partial):
    """Move what a worker made to its place; the exit code of the bag."""
    if code < 0:
        print(f"{job.name}: NOT DONE: its worker was killed {_TRIES} times", flush=True)
        return 1
    words = (out / f"{job.name}.log").read_text(errors="replace").split("\n")
    last = next((line for line in reversed(words) if line.strip()), "").split("\r")[-1]
    marker = out / f"{job.name}.json"
    if (partial / job.name).exists() and code in (0, 1):
        unfinished = {"settings": None, "exit_code": code}  # until the new labels lie there
        marker.write_text(json.dumps(unfinished) + "\n")
        shutil.rmtree(out / job.name, ignore_errors=True)
        (partial / job.name).rename(out / job.name)
        content = {"settings": job.settings, "exit_code": code}
        (partial / "marker").write_text(json.dumps(content, indent=1) + "\n")
        (partial / "marker").rename(marker)
    print(f"{job.name}: {'done' if not code else f'exit code {code}'}: {last}", flush=True)
    return code


def _done(out, job):
    """The exit code of an earlier run of the same job; None where there is none."""
    marker = out / f"{job.name}.json"
    if not marker.exists() or not (out / job.name).is_dir():
        return None
    try:
        content = json.loads(marker.read_text())
        same = content["settings"] == json.loads(json.dumps(job.settings))
        return int(content["exit_code"]) if same else None
    except (ValueError, KeyError, TypeError):
        return None


def label_words(options: Sequence[str], bag: str) -> tuple[str, ...]:
    """The command of a worker that labels one bag."""
    return (sys.executable, "-m", "cmdfusion_ros", "label", *options, bag, "--out")
