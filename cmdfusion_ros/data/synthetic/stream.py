"""Made-up streets without end for training: drawn by worker processes, kept in a bounded folder.

Time is counted in rounds of `scans` scans. A scan is used in `reuse` rounds and then replaced for
good, a `reuse`-th of all streets a round. Which scan round e has in row r follows from e and r
alone, and what is in it from the seed and its number: so a run that is resumed, on any machine
and with any number of workers, sees the scans that it would have seen. A consumer that is faster
than the workers waits for them; a higher `reuse` makes that rarer.
"""

import fcntl
import hashlib
import multiprocessing
import os
import re
import threading
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from cmdfusion_ros.class_map import ClassMap
from cmdfusion_ros.config import check_settings, save_settings, section, setting
from cmdfusion_ros.data.npz import read_npz
from cmdfusion_ros.data.synthetic.rendering import end_with_parent, single_threaded
from cmdfusion_ros.data.synthetic.sequence import DATASET, Sequence, SequenceSettings
from cmdfusion_ros.frame import CameraView, Frame

_NICENESS = 5  # of the workers: training goes first


@dataclass(frozen=True)
class StreamSettings:
    """Which streets, and how many of them at a time."""

    seed: int = setting(0, "number that all streets follow from", minimum=0)
    scans: int = setting(240, "scans of a round, which is this set's part of an epoch", minimum=1)
    per_street: int = setting(4, "scans of one street", minimum=1, maximum=1000)
    reuse: int = setting(6, "rounds in which a scan is used before it is replaced", minimum=1)
    kept: int = setting(1000, "most scans in the folder; about 2.4 MB each", minimum=1)
    processes: int = setting(1, "workers that draw ahead; 0 = draw when asked", minimum=0)
    drive: SequenceSettings = section(SequenceSettings)

    def __post_init__(self) -> None:
        check_settings(self)
        if self.scans % self.per_street:
            raise ValueError(
                f"stream.scans: expected a multiple of per_street {self.per_street}, "
                f"got {self.scans}"
            )
        if self.kept < 3 * self.scans:
            raise ValueError(
                f"stream.kept: expected at least 3 rounds of {self.scans} scans, got {self.kept}"
            )

    @property
    def streets(self) -> int:
        """Streets of a round."""
        return self.scans // self.per_street

    def street_of(self, epoch: int, slot: int) -> int:
        """Number of the street that has place `slot` of round `epoch`."""
        generation = (epoch + slot % self.reuse) // self.reuse
        return generation * self.streets + slot

    def rounds_of(self, street: int) -> range:
        """Range of the rounds that have the street of this number."""
        generation, slot = divmod(street, self.streets)
        first = generation * self.reuse - slot % self.reuse
        return range(max(first, 0), first + self.reuse)

    def new_in(self, epoch: int) -> list[int]:
        """Numbers of the streets that round `epoch` has and the round before has not."""
        numbers = (self.street_of(epoch, slot) for slot in range(self.streets))
        return [number for number in numbers if self.rounds_of(number).start == epoch]


class StreetStream:
    """The scans of a stream as Frames with labels; `scans[row]` is that of round 0.

    Args:
        root: folder that the scans lie in; made where absent. Streams of other settings, and of
            another version of the made-up street, have folders of their own in it.
        settings: StreamSettings. class_map: ClassMap, which must fold SemanticKITTI.
        images: whether the frames have pictures. called: what the set is called in names.
    """

    def __init__(
        self,
        root: str | Path,
        settings: StreamSettings,
        class_map: ClassMap,
        images: bool = False,
        called: str = "street",
    ):
        self.settings, self.class_map, self.images = settings, class_map, images
        self.folder = Path(root) / _key(settings, images)
        self._called, self._epoch, self._running = called, 0, {}
        self._lock, self._pool = threading.Lock(), None
        self.folder.mkdir(parents=True, exist_ok=True)
        save_settings(settings, self.folder / "stream.yaml")

    def __len__(self) -> int:
        return self.settings.scans

    def __getitem__(self, row: int) -> Frame:
        return self.scan(0, row)

    @property
    def names(self) -> tuple[str, ...]:
        """One name for all scans: nobody else has any of them."""
        return (f"{self._called}/seed {self.settings.seed}",)

    def neighbours(self, row: int, offsets: Iterable[int]) -> tuple[Frame, ...]:
        """No scan has others before or behind it; ValueError where any are asked for."""
        if len(offsets):
            raise ValueError(
                "synthetic_stream: its scans stand alone, so that views of several scans have "
                "none to add; make a folder with `cmdfusion world` for those"
            )
        return ()

    def scan(self, epoch: int, row: int) -> Frame:
        """The Frame that row `row` of round `epoch` has; waits until it is drawn."""
        if not 0 <= row < len(self):
            raise IndexError(f"row: expected 0 to {len(self) - 1}, got {row}")
        slot, index = divmod(row, self.settings.per_street)
        street = self.settings.street_of(epoch, slot)
        path = self.folder / _file(street, index)
        for _ in range(3):  # another process with the same folder may remove what it does not need
            if not path.exists():
                self._drawn(street).result()
            if epoch >= self._epoch - 1:  # a look back changes nothing
                self._draw_ahead(epoch)
            try:
                return self._read(path)
            except FileNotFoundError:
                continue
        raise FileNotFoundError(
            f"{path}: drawn and removed by another process; is its kept too low?"
        )

    def close(self) -> None:
        """Stop the workers; streets in work are finished, no more are begun."""
        with self._lock:
            pool, self._pool, self._running = self._pool, None, {}
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)

    def _drawn(self, street):
        """A future that is done when the scans of a street lie in the folder."""
        with self._lock:
            if street not in self._running:
                self._running[street] = self._submit(street)
            return self._running[street]

    def _submit(self, street):
        task = (str(self.folder), self.settings, street, self.images)
        if self.settings.processes == 0:
            return _Done(draw_street(*task))
        if self._pool is None:
            spawn = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.settings.processes, spawn, _start_worker)
        with single_threaded():  # the environment that a worker starts with
            return self._pool.submit(draw_street, *task)

    def _draw_ahead(self, epoch):
        """Keep the workers busy with what comes next, and remove what is over."""
        with self._lock:
            self._epoch = max(self._epoch, epoch)
            done = [street for street, future in self._running.items() if future.done()]
            for street in done:
                self._running.pop(street).result()
            here = _streets_in(self.folder)
            self._remove_old(here)
            free = self.settings.processes + 1 - len(self._running)
            if self.settings.processes == 0:
                return
            room = self.settings.kept // self.settings.per_street - len(here | set(self._running))
            for street in self._coming(here)[: max(min(free, room), 0)]:
                self._running[street] = self._submit(street)

    def _coming(self, here):
        """Streets that are neither drawn nor in work, those that are needed first first."""
        settings, found = self.settings, []
        wanted = [settings.street_of(self._epoch, slot) for slot in range(settings.streets)]
        for ahead in range(1, 2 * settings.reuse + 1):
            wanted += settings.new_in(self._epoch + ahead)
        for street in wanted:
            if street not in here and street not in self._running:
                found.append(street)
                if len(found) > settings.processes:
                    break
        return found

    def _remove_old(self, here):
        """Delete the streets whose rounds are over; the last round stays for readers behind."""
        over = [n for n in here if self.settings.rounds_of(n).stop < self._epoch]
        for street in over:
            for index in range(self.settings.per_street):
                (self.folder / _file(street, index)).unlink(missing_ok=True)
            (self.folder / f"{street}.lock").unlink(missing_ok=True)
            here.discard(street)

    def _read(self, path):
        file = read_npz(path)
        views = tuple(_view_from(file, number) for number in range(int(file["cameras"])))
        return Frame(
            points=file["points"],
            intensity=file["intensity"],
            stamp=int(file["stamp"]),
            frame_id="lidar",
            views=views,
            labels=self.class_map.labels_from_raw(file["raw"], DATASET),
            instance_ids=file["instance_ids"],
            world_from_lidar=file["world_from_lidar"],
            name=f"{self._called}/{path.stem}",
        )


@dataclass(frozen=True)
class _Done:
    """A future of what was done at once."""

    value: int

    def result(self):
        return self.value

    def done(self):
        return True


def draw_street(folder: Path, settings: StreamSettings, street: int, images: bool) -> int:
    """Draw the scans of one street into a folder, unless they are there.

    Several processes may ask for the same one: the first draws, the others wait for it.

    Returns:
        Number of scans drawn.
    """
    folder = Path(folder)
    with _locked(folder / f"{street}.lock"):
        missing = [
            i for i in range(settings.per_street) if not (folder / _file(street, i)).exists()
        ]
        if not missing:
            return 0
        drive = Sequence(settings.seed, f"street {street}", settings.per_street, settings.drive)
        for index in missing:
            _write(folder / _file(street, index), drive, index, images)
    return len(missing)


def _write(path, drive, index, images):
    scan = drive.scan(index)
    arrays = {
        "points": scan.points,
        "intensity": scan.intensity,
        "raw": scan.raw,
        "instance_ids": scan.instance_ids,
        "stamp": np.int64(drive.stamp(index)),
        "world_from_lidar": drive.world_from_lidar(index),
        "cameras": np.int64(len(drive.rig.cameras) if images else 0),
    }
    for number in range(int(arrays["cameras"])):
        view = drive.photograph(index, number).view
        if view.distortion is not None:
            raise ValueError(
                f"rig {drive.rig.name}: a stream keeps no lens distortion; take another"
            )
        arrays[f"image_{number}"] = view.image
        arrays[f"intrinsic_{number}"] = view.intrinsic
        arrays[f"camera_from_lidar_{number}"] = view.camera_from_lidar
        arrays[f"name_{number}"] = np.str_(view.name)
        arrays[f"stamp_{number}"] = np.int64(view.stamp)
    part = path.with_suffix(".part")
    with open(part, "wb") as file:
        np.savez(file, **arrays)
    os.replace(part, path)  # whole or not at all, even when killed now


def _view_from(file, number):
    return CameraView(
        str(file[f"name_{number}"]),
        file[f"image_{number}"],
        file[f"intrinsic_{number}"],
        file[f"camera_from_lidar_{number}"],
        None,
        int(file[f"stamp_{number}"]),
    )


def _file(street, index):
    return f"{street}_{index}.npz"


def _streets_in(folder):
    """Numbers of the streets of which any scan lies in a folder."""
    names = (re.match(r"(\d+)_\d+\.npz", entry.name) for entry in os.scandir(folder))
    return {int(match[1]) for match in names if match}


@contextmanager
def _locked(path):
    """Hold a lock file; it is free again when its process ends, however it ends."""
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _start_worker():
    """Run after the training, and end with it."""
    os.nice(_NICENESS)
    end_with_parent()


def _key(settings, images):
    """Folder name of a stream: what decides its scans, and nothing else."""
    text = f"{settings.seed} {settings.per_street} {settings.drive} {images} {_version()}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def _version():
    """Digest of the source of the made-up street: a change of it gives other scans."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
