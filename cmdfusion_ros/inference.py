"""Frame -> Prediction with a trained network: what the node, the command line and the evaluation
call.
"""

import threading
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from cmdfusion_ros.batch import make_batch
from cmdfusion_ros.checkpoint.file import Checkpoint, load_checkpoint
from cmdfusion_ros.frame import Frame, Prediction, require_array
from cmdfusion_ros.models import grid_of
from cmdfusion_ros.models.folded import inference_form
from cmdfusion_ros.sparse.backends import choose_backend, use_backend
from cmdfusion_ros.sparse.memory import keep_freed_memory
from cmdfusion_ros.sparse.native import kernels
from cmdfusion_ros.sparse.stages import stage
from cmdfusion_ros.sparse.voxelise import within_reach


def default_checkpoint_path() -> Path:
    """The weights that ship with the package; FileNotFoundError where they are not installed."""
    path = Path(__file__).with_name("weights") / "flagship_nano.safetensors"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: the package is installed without its weights; reinstall it (pip install .), "
            "or give one made by `cmdfusion train`"
        )
    return path


class Segmenter:
    """A network ready to label frames.

    One frame at a time: calls from several threads wait for one another.

    Args:
        checkpoint: a Checkpoint or the path of one; the weights that ship by default.
        device: "auto" (CUDA where it works, else CPU), "cpu", "cuda" or "cuda:1".
        backend: how the network is computed: "cpu" (its inference form, several times as fast),
            "torch" (its training form, on any device), "triton" (its training form with fused
            kernels, on CUDA), or "auto" (the fastest that works on this device).
        cpu_threads: threads while a frame is labelled on a CPU; 0 = as many as torch takes by
            itself.
        precision: of the convolutions of backend "cpu": "float32", "bfloat16" (sums stay float32;
            faster, few labels differ: `cmdfusion bench precision`), or "auto": bfloat16 where this
            CPU multiplies such numbers.
        images: whether a network that can look at images does: "on", "off", or, as in the node,
            "auto": unless the score on its card says that they harm (`images_help`). Scores are
            made with "on".

    Attributes:
        class_map: ClassMap of the labels.
        card: what the checkpoint says of itself.
        device, backend, precision: what was chosen; backend_reason: why.
        num_parameters: learned numbers of the network.
        uses_images: whether views of a frame can change its labels; images_reason: why.
        temperatures: Temperatures behind every confidence, from the checkpoint; None where it has
            none.

    Raises:
        ValueError: an unknown device, backend or precision, or one that this machine lacks; a
            network of images alone.
        CheckpointError, FileNotFoundError: see `load_checkpoint`.
    """

    def __init__(
        self,
        checkpoint: Checkpoint | str | Path | None = None,
        device: str = "auto",
        backend: str = "auto",
        cpu_threads: int = 0,
        images: str = "auto",
        precision: str = "auto",
    ):
        if images not in ("on", "off", "auto"):
            raise ValueError(f"images: expected on, off or auto, got {images!r}")
        if not isinstance(checkpoint, Checkpoint):
            checkpoint = load_checkpoint(checkpoint or default_checkpoint_path())
        if checkpoint.model_config.network == "image":
            raise ValueError(
                f"{checkpoint.source}: a network that sees images alone has no answer for most "
                "points; use it as a teacher, not to label scans"
            )
        self.device = _choose_device(device)
        self.backend, self.backend_reason = choose_backend(backend, self.device)
        self.precision = _choose_precision(precision, self.backend)
        self.class_map = checkpoint.class_map
        self.card = checkpoint.card
        self.temperatures = checkpoint.temperatures
        self._grid = grid_of(checkpoint.model_config)
        self._lock = threading.Lock()
        network = checkpoint.build_network().requires_grad_(False)
        self.uses_images, self.images_reason = _choose_images(
            images, hasattr(network, "images"), checkpoint.card
        )
        self.num_parameters = sum(parameter.numel() for parameter in network.parameters())
        self._torch_threads = 0
        if self.device.type == "cpu":
            keep_freed_memory()
        if self.backend == "cpu":
            self._network = inference_form(
                network, cpu_threads or torch.get_num_threads(), self.precision == "bfloat16"
            )
            weakref.finalize(self, self._network.close)
        else:
            self._network = use_backend(network.to(self.device), self.backend)
            self._torch_threads = cpu_threads

    def within_reach(self, points: np.ndarray) -> np.ndarray:
        """(N,) bool: which of (N, 3) float32 points the network's grid can hold. `segment` raises
        ValueError for a frame with others: kilometres away, they are no returns.
        """
        return within_reach(points, self._grid.voxel_size)

    def segment(self, scan: Frame | np.ndarray, intensity: np.ndarray | None = None) -> Prediction:
        """One scan -> Prediction, in its order of points. A scan without points gives an empty one.

        Points of one row of the network's output lie at different distances, so each has its own
        temperature; it changes no label.

        Args:
            scan: a Frame, which may have images; or (N, 3) float32 x, y, z, metres, in the LiDAR's
                frame (x ahead, z up, the origin some metres over the ground).
            intensity: (N,) float32, 0 to 1, of points that are given as an array; None where there
                is none.

        Raises:
            ValueError: an array of another shape or dtype, NaN or infinity, points that the
                network's grid cannot hold (`within_reach`); an intensity beside a Frame.
        """
        return self._segment(_frame_of(scan, intensity), with_raw=False)[0]

    def segment_all(
        self,
        scans: Iterable[Frame | np.ndarray | tuple[np.ndarray, np.ndarray]],
        progress: bool = False,
    ) -> Iterator[Prediction]:
        """The Prediction of each of many scans, in order, one at a time, as `segment`: Frames,
        points, or pairs of points and intensity. `progress` shows a bar.
        """
        for scan in tqdm(scans, unit="scan", disable=not progress):
            yield self.segment(*scan) if isinstance(scan, tuple) else self.segment(scan)

    def segment_with_raw(self, frame: Frame) -> tuple[Prediction, np.ndarray]:
        """(Prediction, (N,) float32 confidence before the temperatures), for whoever measures what
        they do.
        """
        return self._segment(frame, with_raw=True)

    def _segment(self, frame: Frame, with_raw: bool) -> tuple[Prediction, Any]:
        if frame.num_points == 0:
            return Prediction(
                np.zeros(0, np.uint8), np.zeros(0, np.float32), np.zeros(0, np.uint32)
            ), np.zeros(0, np.float32)
        with self._lock, torch.inference_mode():
            with stage("rest"):
                output = self._answer(frame)
            with stage("labels, confidence"):
                highest, row_labels = output.row_logits.max(1)
                below = output.row_logits - highest[:, None]
                labels = (
                    row_labels.to(torch.uint8).index_select(0, output.point_to_row).cpu().numpy()
                )
                raw: Any = None
                confidence: Any = None
                if with_raw or self.temperatures is None:
                    row_confidence = 1 / torch.exp(below).sum(1)  # the softmax at its maximum
                    raw = confidence = (
                        row_confidence.index_select(0, output.point_to_row).cpu().numpy()
                    )
                if self.temperatures is not None:
                    confidence = (
                        (1 / self._tempered(below, output, frame).exp_().sum(1)).cpu().numpy()
                    )
        return Prediction(labels, confidence, _camera_mask(output, frame)), raw

    def probabilities(
        self,
        scan: Frame | np.ndarray,
        intensity: np.ndarray | None = None,
        calibrated: bool = True,
    ) -> tuple[np.ndarray, np.ndarray]:
        """A scan, as `segment` takes it -> ((N, C) float32, rows sum to 1; (N,) uint32, see
        Prediction.camera_mask). Column c is the class `class_map.names[c]`; the largest of a row is
        the label and, calibrated, its confidence.

        Whoever averages over several answers takes those that are not `calibrated` and applies the
        temperatures to the mean, which keeps its labels.
        """
        frame = _frame_of(scan, intensity)
        if frame.num_points == 0:
            return np.zeros((0, self.class_map.num_classes), np.float32), np.zeros(0, np.uint32)
        with self._lock, torch.inference_mode():
            output = self._answer(frame)
            if calibrated and self.temperatures is not None:
                rows = torch.softmax(self._tempered(output.row_logits, output, frame), 1)
            else:
                rows = torch.softmax(output.row_logits, 1).index_select(0, output.point_to_row)
        return rows.cpu().numpy(), _camera_mask(output, frame)

    def _tempered(self, row_logits: torch.Tensor, output: Any, frame: Frame) -> torch.Tensor:
        """(N, C), the logits of every point divided by its temperature."""
        assert self.temperatures is not None
        inverse = torch.from_numpy(self.temperatures.inverse_at(frame.points)).to(row_logits.device)
        return row_logits.index_select(0, output.point_to_row).mul_(inverse[:, None])

    def _answer(self, frame: Frame) -> Any:
        if self._torch_threads and torch.get_num_threads() != self._torch_threads:
            # of the calling thread, so it cannot be set once for all
            torch.set_num_threads(self._torch_threads)
        if frame.views and not self.uses_images:
            frame = replace(frame, views=())
        return self._network(make_batch([frame], self._grid, self.device))


def _frame_of(scan: Frame | np.ndarray, intensity: np.ndarray | None) -> Frame:
    if isinstance(scan, Frame):
        if intensity is not None:
            raise ValueError("segment: a Frame has its own intensity; give it alone")
        return scan
    require_array("points", scan, (None, 3), np.float32)
    if isinstance(intensity, np.ndarray) and intensity.size and intensity.max() > 1.0:
        raise ValueError(
            f"intensity: expected 0 to 1, got up to {intensity.max():g}; divide by what stands for "
            "full intensity, such as 255"
        )
    return Frame(scan, np.zeros(len(scan), np.float32) if intensity is None else intensity)


def images_help(card: dict[str, Any]) -> tuple[bool, str]:
    """(helps, reason): whether a checkpoint's card gives no reason to look away from images.

    It gives one where its kept evaluation (`cmdfusion evaluate --images --keep`) shows harm: where
    the whole 95 % interval of `image_gain` (evaluation/image_gain.py) is below 0. A smaller mean
    IoU with images, on too few scans to tell, is no reason.
    """
    try:
        gain = card["evaluation"]["image_gain"]
        mean, low, high = (100 * float(gain[key]) for key in ("miou", "low", "high"))
        scans = int(gain["scans"])
    except (KeyError, TypeError, ValueError):
        return True, "looked at; its card has no evaluation that could say whether they help"
    compared = (
        f"by its card images change mIoU by {mean:+.1f} points ({low:+.1f} to {high:+.1f} over "
        f"{scans} scans)"
    )
    if high < 0:
        return False, f"not looked at: {compared}; model.images on looks at them all the same"
    return True, f"looked at: {compared}"


def _choose_images(asked: str, can_look: bool, card: dict[str, Any]) -> tuple[bool, str]:
    """(looks at images, reason) for the `images` of a Segmenter."""
    if not can_look:
        return False, "not looked at: this network sees points alone"
    return (
        images_help(card)
        if asked == "auto"
        else (asked == "on", "looked at" if asked == "on" else "not looked at: images is off")
    )


def _camera_mask(output: Any, frame: Frame) -> np.ndarray:
    seen = output.camera_mask
    return (
        np.zeros(frame.num_points, np.uint32)
        if seen is None
        else seen.cpu().numpy().astype(np.uint32)
    )


def _choose_precision(asked: str, backend: str) -> str:
    if asked not in ("auto", "float32", "bfloat16"):
        raise ValueError(f"precision: expected auto, float32 or bfloat16, got {asked!r}")
    compiled = kernels() if backend == "cpu" else None
    can = compiled is not None and compiled.has_half
    if asked == "bfloat16" and not can:
        raise ValueError(
            "precision: bfloat16 asked for, but it needs backend cpu, the compiled kernels and a "
            "CPU with AVX512-BF16; use auto or float32"
        )
    return "bfloat16" if can and asked != "float32" else "float32"


def _choose_device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device: expected auto, cpu, cuda or cuda:N, got {name!r}") from error
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device: expected auto, cpu, cuda or cuda:N, got {name!r}")
    if device.type == "cuda" and not (
        torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()
    ):
        raise ValueError(
            f"device: {name!r} asked for, but torch {torch.__version__} sees "
            f"{torch.cuda.device_count()} CUDA devices; use auto or cpu"
        )
    return device
