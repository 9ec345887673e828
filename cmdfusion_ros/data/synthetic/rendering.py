"""Sequences rendered by several processes: the same bytes as by one."""

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing.connection import wait
from pathlib import Path

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.data.synthetic.folders import write_scan, write_tables
from cmdfusion_ros.data.synthetic.sequence import SequenceSettings, open_sequence
from cmdfusion_ros.frame import Frame

_CHUNK = 5  # scans a task


def available_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def write_folders(
    root: str | Path,
    seed: int,
    names: Iterable[str],
    num_scans: int,
    settings: SequenceSettings,
    images: bool = True,
    workers: int = 1,
) -> Iterator[int]:
    """Write sequences in the SemanticKITTI layout to `root`/sequences/<name>.

    Args:
        root: folder. seed: int. names: of the sequences. num_scans: of each. settings:
            SequenceSettings. images: whether pictures are taken.
        workers: number of processes.

    Yields:
        Number of scans written since the last time.
    """
    tasks = []
    for name in names:
        folder = Path(root) / "sequences" / name
        starts = range(0, num_scans, _CHUNK)
        tasks += [
            (
                str(folder),
                (seed, name, num_scans, settings),
                start,
                min(start + _CHUNK, num_scans),
                images,
            )
            for start in starts
        ]
    if workers == 1:
        yield from map(_write_chunk, tasks)
        return
    with _processes(workers) as pool:
        for future in as_completed([pool.submit(_write_chunk, task) for task in tasks]):
            yield future.result()


def render_frames(
    seed: int,
    name: str,
    num_scans: int,
    settings: SequenceSettings,
    class_map_name: str,
    cameras_of: Callable[[int], tuple[str, ...]] | None = None,
    workers: int = 1,
) -> Iterator[Frame]:
    """The Frames of a sequence in order, rendered by `workers` processes, a few ahead of what is
    asked for.

    Args:
        seed, name, num_scans, settings: of `Sequence`. class_map_name: of the labels.
        cameras_of: function of a scan's number -> names of the cameras that take a picture for it;
            None for all of the rig.
    """
    tasks = [
        ((seed, name, num_scans, settings), index, class_map_name, cameras_of and cameras_of(index))
        for index in range(num_scans)
    ]
    if workers == 1:
        yield from map(_render_frame, tasks)
        return
    with _processes(workers) as pool:
        waiting, ahead = iter(tasks), deque()
        for task in waiting:
            ahead.append(pool.submit(_render_frame, task))
            if len(ahead) > 2 * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _write_chunk(task):
    folder, arguments, start, stop, images = task
    sequence = open_sequence(*arguments)
    if start == 0:
        write_tables(folder, sequence)
    for name in ("velodyne", "labels", "image_2"):
        (Path(folder) / name).mkdir(parents=True, exist_ok=True)
    for index in range(start, stop):
        write_scan(folder, sequence, index, images)
    return stop - start


def _render_frame(task):
    arguments, index, class_map_name, cameras = task
    return open_sequence(*arguments).frame(index, load_class_map(class_map_name), cameras)


@contextmanager
def single_threaded() -> Iterator[None]:
    """An environment in which processes start with one thread: a pool of processes with pools of
    threads is slower than either."""
    before = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    os.environ.update(dict.fromkeys(before, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def end_with_parent() -> None:
    """Called in a worker: it ends with its parent, however that ends. Otherwise the workers of one
    that was killed go on writing into folders that another run may have begun to fill.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        sentinel = parent.sentinel
        threading.Thread(target=lambda: (wait([sentinel]), os._exit(1)), daemon=True).start()


@contextmanager
def _processes(workers):
    """Fresh processes, one thread each."""
    spawn = multiprocessing.get_context("spawn")
    with single_threaded(), ProcessPoolExecutor(workers, spawn, end_with_parent) as pool:
        try:
            yield pool
        except BaseException:  # Ctrl-C or a failed scan: do not work off the rest
            pool.shutdown(wait=False, cancel_futures=True)
            raise
