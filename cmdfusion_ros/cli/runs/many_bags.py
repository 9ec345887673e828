"""Several bags over the cores or a cluster: one process a bag, each with one thread, so that the
number of workers changes no byte. A worker that was killed is started again; what is done is not
done twice.
"""

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cmdfusion_ros.cli.runs.bag_workers import BagWorker, BagWorkers
from cmdfusion_ros.cli.runs.terminal import BagsProgress, clouds_done

_TRIES = 3  # of a bag whose worker is killed
_POLL_S, _SHOW_S = 0.1, 1.0  # seconds between looks at the workers, and at their logs
_TAIL = 2000  # bytes of a log, in which its last line is


@dataclass(frozen=True)
class BagJob:
    """One bag to label.

    Attributes:
        name: of the folder that it becomes. settings: what its bytes depend on, plain JSON values.
        words: of `cmdfusion`, without where it writes; the folder is added as the last one.
        size: bytes of the bag, by which the time to go is told.
    """

    name: str
    settings: Mapping[str, Any]
    words: tuple[str, ...]
    size: int = 0


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
    jobs: Sequence[BagJob], out: Path, workers: BagWorkers, resume: bool
) -> tuple[int, dict[str, Any]]:
    """Do all jobs: `out`/NAME is the bag of labels, NAME.log what its worker said and NAME.json
    that it is done, with its settings.

    Args:
        out: folder. workers: who does them. resume: leave out what is done with the same
            settings; without it `out` must not exist or be empty.

    Returns:
        The exit code: the highest of the bags'; and {"out", "bags": {name: its exit code}}.

    Raises:
        FileExistsError: `out` has something in it, without `resume`; another run labels into it.
        ValueError: a folder of that name is there that is no labels of ours.
    """
    out = out.absolute()  # a node of a cluster has another working folder
    if not resume and out.exists() and any(out.iterdir()):
        raise FileExistsError(
            f"--out {out}: is not empty; go on there with --resume, or choose another folder"
        )
    out.mkdir(parents=True, exist_ok=True)
    with _alone_in(out):
        return _run_alone(jobs, out, workers, resume)


@contextmanager
def _alone_in(out):
    """Keeps other runs out of a folder; free again when this process ends, however it ends."""
    place = os.open(out, os.O_RDONLY)
    try:
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise FileExistsError(
            f"--out {out}: another run labels into it; wait for its end, or choose another folder"
        ) from error
    finally:
        os.close(place)


def _run_alone(jobs, out, workers, resume):
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
    line = BagsProgress({job.name: job.size for job, _ in waiting})
    running: dict[str, tuple[BagJob, int, BagWorker]] = {}
    due = 0.0
    try:
        while waiting or running:
            while waiting and len(running) < workers.number:
                job, attempt = waiting.pop(0)
                place, log = partial / str(attempt) / job.name, out / f"{job.name}.log"
                place.parent.mkdir(parents=True, exist_ok=True)
                running[job.name] = (job, attempt, workers.start((*job.words, str(place)), log))
            time.sleep(_POLL_S)
            for job, attempt, worker in list(running.values()):
                ended = worker.poll()
                if ended is None:
                    continue
                del running[job.name]
                if ended.code is None and attempt < _TRIES:
                    line.say(f"{job.name}: its worker was {ended.how}; again")
                    waiting.append((job, attempt + 1))
                    continue
                codes[job.name], words = _finish(job, ended.code, out, partial / str(attempt))
                line.done(job.name, _clouds_done(out, job.name))
                line.say(words)
            if time.monotonic() >= due:
                line.show({name: _clouds_done(out, name) for name in running})
                due = time.monotonic() + _SHOW_S
    finally:
        for _, _, worker in running.values():
            worker.stop()
        for _, _, worker in running.values():
            worker.wait()
        shutil.rmtree(partial, ignore_errors=True)
    line.finish()
    good = sum(code == 0 for code in codes.values())
    print(f"{good} of {len(jobs)} bags labelled with nothing to say against them: {out}")
    return max(codes.values(), default=0), {"out": str(out), "bags": codes}


def _clouds_done(out, name):
    """(done, all) clouds of a bag, as its worker's log said last; None before it says."""
    with suppress(OSError), open(out / f"{name}.log", "rb") as log:
        log.seek(max(os.path.getsize(log.name) - _TAIL, 0))
        return clouds_done(log.read().decode(errors="replace"))
    return None


def _remove_leftovers(out):
    """Remove the half bags of runs that were killed; those of a run that goes on stay."""
    for left in out.glob(".partial.*"):
        try:
            os.kill(int(left.suffix[1:]), 0)
        except ProcessLookupError:
            shutil.rmtree(left, ignore_errors=True)
        except (ValueError, PermissionError):
            continue


def _finish(job, code, out, partial):
    """Move what a worker made under `partial` to its place; (exit code of the bag, in words)."""
    if code is None:
        return 1, f"{job.name}: NOT DONE: its worker was killed {_TRIES} times"
    log = out / f"{job.name}.log"
    said = log.read_text(errors="replace").split("\n") if log.exists() else []
    last = next((line for line in reversed(said) if line.strip()), "").split("\r")[-1]
    marker, made = out / f"{job.name}.json", partial / job.name
    if code in (0, 1) and made.exists():
        unfinished = {"settings": None, "exit_code": code}  # until the new labels lie there
        marker.write_text(json.dumps(unfinished) + "\n")
        shutil.rmtree(out / job.name, ignore_errors=True)
        made.rename(out / job.name)
        content = {"settings": job.settings, "exit_code": code}
        (partial / "marker").write_text(json.dumps(content, indent=1) + "\n")
        (partial / "marker").rename(marker)
    elif code == 0:
        return 1, (
            f"{job.name}: NOT DONE: its worker was content, but left nothing in {made}; do all "
            "nodes share the file system of --out?"
        )
    return code, f"{job.name}: {'done' if not code else f'exit code {code}'}: {last}"


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
