"""What labels while CUDA fails: the same network on the CPU, until the device answers again."""

import re
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from cmdfusion_ros.class_map import ClassMap
from cmdfusion_ros.frame import Frame, Prediction

_FIRST_REST = 1.0  # seconds after a failure before the device is asked again; doubled each time
_LONGEST_REST = 60.0
# torch has a class for lack of memory alone; the rest is told apart by who complains
_WORDS = re.compile(r"cuda|cublas|cudnn|nvrtc|hip error|triton error", re.IGNORECASE)


class DeviceFallback:
    """A Segmenter on a GPU with one on the CPU behind it. What the device fails at is labelled by
    the other, slower; then the device rests for a second, two, four ..., a minute at most, and is
    asked again: memory that others took comes back, a device that fell off the bus does not.

    Args:
        segmenter: on the device.
        open_on_cpu: () -> the same network on the CPU; called once, at the first failure.
        now: seconds of a steady clock.

    Attributes:
        trouble: why the CPU labels; "" while the device does.
        segmenter: as given. class_map: its.
    """

    def __init__(
        self,
        segmenter: Any,
        open_on_cpu: Callable[[], Any],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.segmenter = segmenter
        self.class_map: ClassMap = segmenter.class_map
        self.trouble = ""
        self._open_on_cpu, self._now = open_on_cpu, now
        self._on_cpu: Any = None
        self._rest, self._asleep_until = _FIRST_REST, -np.inf

    @property
    def uses_images(self) -> bool:
        """As of Segmenter."""
        return bool(getattr(self.segmenter, "uses_images", True))

    def within_reach(self, points: np.ndarray) -> np.ndarray:
        """As of Segmenter."""
        return self.segmenter.within_reach(points)

    def segment(self, frame: Frame) -> Prediction:
        """Frame -> Prediction. What no device is to blame for is raised as it comes."""
        if self._now() >= self._asleep_until:
            try:
                prediction = self.segmenter.segment(frame)
            except Exception as error:
                if not is_device_error(error):
                    raise
                self._note(error)
            else:
                self.trouble, self._rest = "", _FIRST_REST
                return prediction
        if self._on_cpu is None:
            self._on_cpu = self._open_on_cpu()
        return self._on_cpu.segment(frame)

    def _note(self, error: Exception) -> None:
        reason = str(error).strip().split("\n")[0]  # CUDA adds lines of advice
        self.trouble = (
            f"{self.segmenter.device} failed ({type(error).__name__}: {reason}); labelling on the "
            "CPU, and asking the device again now and then"
        )
        self._asleep_until = self._now() + self._rest
        self._rest = min(2 * self._rest, _LONGEST_REST)
        _free_memory()


def is_device_error(error: BaseException) -> bool:
    """Whether an exception tells of a GPU that fails, not of a wrong input."""
    import torch

    return isinstance(error, torch.cuda.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and _WORDS.search(str(error)) is not None
    )


def _free_memory() -> None:
    """Give back what torch keeps for later: it may be what others lack."""
    import torch

    try:
        torch.cuda.empty_cache()
    except RuntimeError:  # a lost device cannot even do this
        pass
