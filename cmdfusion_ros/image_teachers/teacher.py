"""A 2D segmentation network as a teacher: an image in, a class of ours for every pixel out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from cmdfusion_ros.class_map import ClassMap, load_class_map
from cmdfusion_ros.frame import IGNORE_LABEL
from cmdfusion_ros.image_teachers.class_lists import ClassList, class_list_of
from cmdfusion_ros.image_teachers.description import TeacherSettings, read_description
from cmdfusion_ros.image_teachers.runtimes import Runtime, open_runtime
from cmdfusion_ros.image_teachers.tiles import tile_weights, tiling

_LONG_SIDE, _MULTIPLE = 1024, 32  # of the input of a network that takes any size


@dataclass(frozen=True, eq=False)
class PixelLabels:
    """What a teacher says of an image; its maps may be smaller or larger than the image, and cover
    the same field of view.

    Attributes:
        labels: (h, w) uint8, labels of the teacher's class map, IGNORE_LABEL where it says nothing.
        confidence: (h, w) float32 in [0, 1], probability of that label.
    """

    labels: np.ndarray
    confidence: np.ndarray


class ImageTeacher(Protocol):
    """Whoever labels images."""

    name: str
    class_map: ClassMap

    def answer(self, image: np.ndarray) -> PixelLabels:
        """(H, W, 3) uint8 RGB -> PixelLabels."""
        ...


def open_image_teacher(path: str | Path, threads: int = 0) -> "NetworkTeacher":
    """The teacher in a .onnx or .tflite file; errors as of `open_runtime` and `read_description`.

    Args:
        path: the file, with its description beside it (see `description.py`).
        threads: CPU threads; 0 = the library's own choice.
    """
    path = Path(path)
    settings, classes = read_description(path)
    return NetworkTeacher(
        open_runtime(path, settings.output, threads), settings, classes, path.name
    )


class NetworkTeacher:
    """An ImageTeacher that asks a network, in tiles.

    Args:
        runtime: Runtime. settings: TeacherSettings.
        classes: ClassList; None = the known one with as many classes as the network answers.
        name: for messages.

    Attributes:
        classes: ClassList; where it was not given, None until the first answer.
    """

    def __init__(
        self, runtime: Runtime, settings: TeacherSettings, classes: ClassList | None, name: str
    ):
        self.name, self.class_map, self.classes = name, load_class_map("street"), classes
        self._runtime, self._settings = runtime, settings
        self._channels_first = runtime.input_shape[1] == 3
        self._matrix: np.ndarray | None = None

    def answer(self, image: np.ndarray) -> PixelLabels:
        """(H, W, 3) uint8 RGB -> PixelLabels.

        Raises:
            ValueError: the network's answer is no map of its classes.
        """
        plan = tiling((image.shape[1], image.shape[0]), self._tile(image))
        scaled = cv2.resize(image, plan.size, interpolation=cv2.INTER_AREA)
        weights = tile_weights(plan.tile)
        total = np.zeros((plan.size[1], plan.size[0], self.class_map.num_classes + 1), np.float32)
        width, height = plan.tile
        for left, top in plan.corners:
            part = scaled[top : top + height, left : left + width]
            answer = self._ask(part)
            if self._settings.flip:
                answer = 0.5 * (answer + self._ask(part[:, ::-1])[:, ::-1])
            total[top : top + height, left : left + width] += weights * answer
        best = total.argmax(2)
        confidence = np.take_along_axis(total, best[:, :, None], 2)[:, :, 0] / total.sum(2)
        labels = np.where(best == self.class_map.num_classes, IGNORE_LABEL, best).astype(np.uint8)
        return PixelLabels(labels, confidence)

    def _tile(self, image: np.ndarray) -> tuple[int, int]:
        """(width, height) of the network's input for an image."""
        shape = self._runtime.input_shape
        height, width = shape[2:4] if self._channels_first else shape[1:3]
        if width and height:
            return width, height
        if all(self._settings.input_size):
            return self._settings.input_size
        scale = _LONG_SIDE / max(image.shape[:2])
        sides = (image.shape[1], image.shape[0])
        return tuple(max(round(side * scale / _MULTIPLE), 1) * _MULTIPLE for side in sides)

    def _ask(self, part: np.ndarray) -> np.ndarray:
        """(h, w, 3) uint8 RGB of the size of a tile -> (h, w, C + 1) float32 probabilities."""
        settings, dtype = self._settings, self._runtime.input_dtype
        values = part if settings.channels == "rgb" else part[:, :, ::-1]
        if dtype != np.uint8:
            mean, std = (np.array(each, np.float32) for each in (settings.mean, settings.std))
            order = slice(None) if settings.channels == "rgb" else slice(None, None, -1)
            values = (values.astype(np.float32) - mean[order]) / std[order]
        if dtype == np.int8:
            scale, zero = self._runtime.quantisation
            values = np.clip(np.round(values / scale + zero), -128, 127)
        batch = values.transpose(2, 0, 1) if self._channels_first else values
        answer = self._runtime.run(np.ascontiguousarray(batch[None].astype(dtype)))
        folded = self._folded(np.asarray(answer))
        if folded.shape[:2] != part.shape[:2]:
            layers = [
                cv2.resize(layer, (part.shape[1], part.shape[0]), interpolation=cv2.INTER_LINEAR)
                for layer in np.ascontiguousarray(folded.transpose(2, 0, 1))
            ]
            folded = np.stack(layers, axis=2)
        return folded

    def _folded(self, answer: np.ndarray) -> np.ndarray:
        """The network's answer, scores or labels, -> (h, w, C + 1) float32, rows that sum to 1."""
        if answer.ndim == 4 and answer.shape[0] == 1:
            answer = answer[0]
        if answer.ndim == 3 and 1 in (answer.shape[0], answer.shape[2]):
            answer = answer[0] if answer.shape[0] == 1 else answer[:, :, 0]
        if answer.ndim == 2:
            return self._of_labels(answer)
        if answer.ndim != 3:
            raise ValueError(
                f"teacher {self.name}: expected scores (1, K, H, W) or (1, H, W, K) or labels "
                f"(1, H, W), got an answer of shape {answer.shape}; is `output` right?"
            )
        scores = self._classes_last(answer.astype(np.float32))
        if not (scores.min() >= 0 and np.abs(scores.sum(2) - 1).max() < 1e-2):  # no probabilities
            scores = np.exp(scores - scores.max(2, keepdims=True))
            scores /= scores.sum(2, keepdims=True)
        return scores @ self._fold(scores.shape[2])

    def _classes_last(self, scores: np.ndarray) -> np.ndarray:
        """(K, h, w) or (h, w, K) -> (h, w, K): by the number of classes, else as the input is."""
        number = -2 if self.classes is None else len(self.classes.names)
        fits = [size in (number, number + 1) for size in scores.shape]
        first = fits[0] if fits[0] != fits[2] else self._channels_first
        return scores.transpose(1, 2, 0) if first else scores

    def _of_labels(self, labels: np.ndarray) -> np.ndarray:
        if self.classes is None:
            raise ValueError(
                f"teacher {self.name}: answers labels, which do not tell whose classes they are; "
                "write `class_list: cityscapes` (or another) into a file beside it, "
                f"{Path(self.name).stem}.yaml"
            )
        numbers = np.round(labels).astype(np.int64)
        matrix = self._fold(len(self.classes.names))
        nothing = np.zeros((1, matrix.shape[1]), np.float32)
        nothing[0, -1] = 1.0  # 255 and the like: no class
        known = (numbers >= 0) & (numbers < len(matrix))
        return np.concatenate([matrix, nothing])[np.where(known, numbers, len(matrix))]

    def _fold(self, number: int) -> np.ndarray:
        """(number, C + 1), see `ClassList.matrix`; finds the list where none was given."""
        if self._matrix is None or len(self._matrix) != number:
            if self.classes is None:
                self.classes = class_list_of(number)
            spare = number - len(self.classes.names)
            if spare not in (0, 1):
                raise ValueError(
                    f"teacher {self.name}: answers {number} classes, its list "
                    f"{self.classes.name} has {len(self.classes.names)}; is `class_list` right?"
                )
            matrix = self.classes.matrix(self.class_map)
            nothing = np.zeros((spare, matrix.shape[1]), np.float32)
            nothing[:, -1] = 1.0
            self._matrix = np.concatenate([matrix, nothing])
        return self._matrix
