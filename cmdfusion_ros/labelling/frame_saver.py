"""Saves what one cloud was made of and what was made of it: the file that a bug report needs.

A file appears under its name only when it is whole, no file is ever replaced, and a folder takes
a bounded number of them: whoever may call ~/save_frame must not be able to fill the disk.
"""

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cmdfusion_ros.class_map import ClassMap
from cmdfusion_ros.config import settings_to_dict
from cmdfusion_ros.frame import Prediction
from cmdfusion_ros.labelling.labelled_cloud import LabelledCloud
from cmdfusion_ros.labelling.settings import NodeSettings

MOST_FILES = 32  # in a folder
_PREFIX = "cmdfusion_frame_"
_SPARE = 64 << 20  # bytes that stay free on the disk


class FrameSaver:
    """Takes one request at a time and writes on a thread of its own: compressing a million points
    takes seconds, which the next cloud must not wait for.

    Args:
        done: called on that thread with (path, "" or why it failed).
    """

    def __init__(self, done: Callable[[Path, str], None]) -> None:
        self._done = done
        self._lock = threading.Lock()
        self._path: Path | None = None  # asked for
        self._thread: threading.Thread | None = None  # writing

    @property
    def wanted(self) -> bool:
        """Whether the next labelled cloud is to be saved."""
        return self._path is not None

    @property
    def busy(self) -> bool:
        """Whether a file is asked for or being written."""
        return self.wanted or (self._thread is not None and self._thread.is_alive())

    def ask(self, folder: Path) -> Path:
        """The next labelled cloud goes to the returned path, a new file in `folder`.

        Raises:
            OSError: the folder cannot be made, holds MOST_FILES saved frames, or its disk is
                nearly full. BlockingIOError: a frame is being saved already.
        """
        with self._lock:
            if self.busy:
                raise BlockingIOError("a frame is being saved already; ask again when it is done")
            folder.mkdir(parents=True, exist_ok=True)
            saved = len(list(folder.glob(f"{_PREFIX}*")))
            if saved >= MOST_FILES:
                raise OSError(
                    f"{folder} holds {saved} saved frames, the most it may; remove some first"
                )
            disk = os.statvfs(folder)
            if disk.f_bavail * disk.f_frsize < _SPARE:
                raise OSError(f"{folder}: less than {_SPARE >> 20} MB are free; make room first")
            stamp = time.strftime("%Y%m%dT%H%M%S")
            self._path = folder / f"{_PREFIX}{stamp}_{time.monotonic_ns() % 10**9:09d}.npz"
            return self._path

    def take(
        self,
        labelled: LabelledCloud,
        prediction: Prediction,
        class_map: ClassMap,
        settings: NodeSettings,
    ) -> None:
        """Save this cloud if one is asked for; arguments as of `save_frame`. Returns at once."""
        with self._lock:
            path, self._path = self._path, None
            if path is None:
                return
            self._thread = threading.Thread(
                target=self._write,
                args=(path, labelled, prediction, class_map, settings),
                name="cmdfusion-save",
                daemon=True,
            )
            self._thread.start()

    def close(self, timeout_s: float = 10.0) -> None:
        """Forget what was asked for; wait for what is being written."""
        with self._lock:
            self._path, thread = None, self._thread
        if thread is not None:
            thread.join(timeout_s)

    def _write(self, path: Path, *content: Any) -> None:
        try:
            save_frame(path, *content)
        except Exception as error:  # the thread's last word: whoever asked must hear of it
            self._done(path, f"{type(error).__name__}: {error}")
        else:
            self._done(path, "")


def save_frame(
    path: str | Path,
    labelled: LabelledCloud,
    prediction: Prediction,
    class_map: ClassMap,
    settings: NodeSettings,
) -> None:
    """Write inputs and outputs of one cloud as npz. Where that fails no file is left.

    Arrays: points (N, 3), usable and rows (N,) bool, intensity (N,), cloud_bytes (N, point_step) as
    they came, labels, confidence and camera_mask of `points[rows]` (labels index class_names),
    stamp, frame_id, mode, and for each camera used <camera>.image, .intrinsic, .camera_from_lidar,
    .distortion and .stamp. `facts` is JSON: fields of the cloud, reports of all cameras, settings.

    Raises:
        FileExistsError: there is a file of that name. OSError: it cannot be written.
    """
    cloud, frame = labelled.cloud, labelled.frame
    arrays = {
        "points": cloud.points,
        "usable": cloud.usable,
        "rows": labelled.rows,
        "intensity": cloud.intensity,
        "cloud_bytes": cloud.raw,
        "labels": prediction.labels,
        "confidence": prediction.confidence,
        "camera_mask": prediction.camera_mask,
        "class_names": np.array(class_map.names),
        "stamp": np.int64(cloud.stamp),
        "frame_id": np.array(cloud.frame_id),
        "mode": np.array(labelled.mode.name),
    }
    for view in frame.views:
        arrays[f"{view.name}.image"] = view.image
        arrays[f"{view.name}.intrinsic"] = view.intrinsic
        arrays[f"{view.name}.camera_from_lidar"] = view.camera_from_lidar
        arrays[f"{view.name}.distortion"] = np.array(
            view.distortion.coefficients if view.distortion else ()
        )
        arrays[f"{view.name}.stamp"] = np.int64(view.stamp)
    facts = {
        "fields": [[f.name, f.offset, f.datatype, f.count] for f in cloud.fields],
        "cameras": [
            [r.name, r.status.name, r.reason, r.offset_ns, r.num_points] for r in labelled.cameras
        ],
        "settings": {name: _plain(value) for name, value in vars(settings).items()},
    }
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        raise FileExistsError(f"{path}: there is a file of that name already")
    unfinished = path.with_name(f"{path.name}.part")
    with open(unfinished, "xb") as stream:
        try:
            np.savez_compressed(stream, facts=np.array(json.dumps(facts)), **arrays)
            stream.flush()
            os.fsync(stream.fileno())
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: settings_to_dict(item) for name, item in value.items()}
    return settings_to_dict(value) if hasattr(value, "__dataclass_fields__") else value
