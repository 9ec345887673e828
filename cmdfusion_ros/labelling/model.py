"""The network of the node: opened from its parameters, checked, warmed up; or a stand-in that
labels nothing truly.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from cmdfusion_ros.class_map import ClassMap, load_class_map
from cmdfusion_ros.config import SettingsError
from cmdfusion_ros.frame import CameraView, Frame, Prediction
from cmdfusion_ros.image_teachers.point_labels import TeacherSegmenter
from cmdfusion_ros.image_teachers.runtimes import SUFFIXES
from cmdfusion_ros.image_teachers.teacher import open_image_teacher
from cmdfusion_ros.labelling.device_fallback import DeviceFallback, is_device_error
from cmdfusion_ros.labelling.sections import ModelSettings


@dataclass(frozen=True)
class ModelInfo:
    """What diagnostics say of the network. `checkpoint` names the file, "fake" for the stand-in;
    `images` says whether it looks at any, and why.
    """

    checkpoint: str
    sha256: str
    device: str
    backend: str
    images: str
    num_parameters: int
    warmup_ms: float


class AnySegmenter(Protocol):
    """What labels frames: a `Segmenter`, which may also have `within_reach`, or a stand-in."""

    class_map: ClassMap

    def segment(self, frame: Frame) -> Prediction:
        """Frame -> Prediction, in the frame's order of points."""


class FakeSegmenter:
    """Gives every point the first class with confidence 0 and says that every view reached every
    point.

    For measuring what the node costs without a network, and for tests. Its labels mean nothing.
    """

    device, backend, num_parameters = "cpu", "fake", 0

    def __init__(self) -> None:
        self.class_map = load_class_map("street")

    def segment(self, frame: Frame) -> Prediction:
        num_points = frame.num_points
        mask = np.uint32((1 << len(frame.views)) - 1)
        return Prediction(
            np.zeros(num_points, np.uint8),
            np.zeros(num_points, np.float32),
            np.full(num_points, mask, np.uint32),
        )


def is_teacher(checkpoint: str) -> bool:
    """Whether a checkpoint is a 2D network of others: told by the ending of its file."""
    return Path(checkpoint).suffix in SUFFIXES


def open_segmenter(settings: ModelSettings) -> tuple[AnySegmenter, ModelInfo]:
    """(Segmenter, ModelInfo) from ModelSettings, warmed up; where the checkpoint is a 2D network
    (.onnx, .tflite), a TeacherSegmenter, which labels what cameras see and nothing else; on a GPU,
    a DeviceFallback around the Segmenter.

    Raises:
        SettingsError: the file is missing or has another SHA-256, or the GPU fails at once.
        ValueError: it is not a checkpoint that can be read.
    """
    if settings.backend == "fake":
        return FakeSegmenter(), ModelInfo(
            "fake", "", "cpu", "fake: the labels mean nothing", "not looked at", 0, 0.0
        )
    if is_teacher(settings.checkpoint):
        teacher = open_image_teacher(settings.checkpoint, settings.cpu_threads)
        looks = f"labels are those of {teacher.name}"
        return TeacherSegmenter(teacher), ModelInfo(teacher.name, "", "cpu", "2D", looks, 0, 0.0)
    # torch takes a second to import: not for the fake
    from cmdfusion_ros.checkpoint.file import load_checkpoint
    from cmdfusion_ros.inference import Segmenter, default_checkpoint_path

    try:
        path = Path(settings.checkpoint or default_checkpoint_path())
        checkpoint = load_checkpoint(path)
    except OSError as error:
        raise SettingsError(
            f"model.checkpoint: {error}; give the path of a checkpoint, or model.backend fake to "
            "run without a network"
        ) from error
    if settings.sha256 and settings.sha256.lower() != checkpoint.sha256:
        raise SettingsError(
            f"model.sha256: expected {settings.sha256}, {path} has {checkpoint.sha256}; is this "
            "the right file?"
        )

    def open_on(device: str, backend: str) -> Any:
        precision = settings.precision if device == settings.device else "auto"
        return Segmenter(
            checkpoint, device, backend, settings.cpu_threads, settings.images, precision
        )

    try:
        segmenter = open_on(settings.device, settings.backend)
        _require_numbers(segmenter, path)
        warmup_ms = _warm_up(segmenter, settings.warmup)
    except Exception as error:
        if not is_device_error(error):
            raise
        raise SettingsError(
            f"model.device: the GPU failed at the first scans ({type(error).__name__}: {error}); "
            "free its memory, or set model.device cpu"
        ) from error
    engine = f"{segmenter.backend} in {segmenter.precision}"
    chosen = str(segmenter.device), engine, segmenter.images_reason
    info = ModelInfo(path.name, checkpoint.sha256, *chosen, segmenter.num_parameters, warmup_ms)
    if segmenter.device.type == "cpu":
        return segmenter, info
    return DeviceFallback(segmenter, lambda: open_on("cpu", "auto")), info


def _require_numbers(segmenter: Any, path: Path) -> None:
    """ValueError where the answer to a scan holds what is no number: weights that are finite each
    can still overflow together.
    """
    _, confidence = segmenter.segment_with_raw(_made_up_frame(1_000))
    wrong = int(np.count_nonzero(~np.isfinite(confidence)))
    if wrong:
        raise ValueError(
            f"model.checkpoint: {path}: {wrong} of {len(confidence)} points of a trial scan get a "
            "confidence that is no number; the network is damaged"
        )


def _made_up_frame(num_points: int) -> Frame:
    """A scan of a ground plane."""
    random = np.random.default_rng(0)
    points = random.uniform((-40, -40, -2), (40, 40, 1), (num_points, 3)).astype(np.float32)
    return Frame(points, random.uniform(0, 1, len(points)).astype(np.float32))


def _warm_up(segmenter: Any, num_scans: int) -> float:
    """Label `num_scans` scans of a made-up ground plane; milliseconds of the last one. Kernels are
    built and memory is taken at the first.

    A network that uses images labels each without and then with one, so that no change of mode
    finds anything unprepared; the last is one with an image.
    """
    random = np.random.default_rng(0)
    frame = _made_up_frame(20_000)
    frames = (
        [frame, replace(frame, views=(_made_up_view(random),))]
        if segmenter.uses_images
        else [frame]
    )
    last = 0.0
    for _ in range(num_scans):
        for one in frames:
            started = time.monotonic()
            segmenter.segment(one)
            last = (time.monotonic() - started) * 1e3
    return last


def _made_up_view(random: np.random.Generator) -> CameraView:
    """A camera at the LiDAR that looks ahead at noise."""
    camera_from_lidar = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    intrinsic = np.array([[320.0, 0, 319.5], [0, 320, 179.5], [0, 0, 1]])
    return CameraView(
        "warm_up", random.integers(0, 256, (360, 640, 3), np.uint8), intrinsic, camera_from_lidar
    )
