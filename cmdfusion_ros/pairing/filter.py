"""The pairing as a filter among those of `message_filters`: it takes their Subscribers and offers
their `registerCallback`.

Nothing is imported from there: any object with `registerCallback(callback, *arguments)` will do, so
it works without ROS too.
"""

import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from cmdfusion_ros.pairing.clock_watch import Clock
from cmdfusion_ros.pairing.paired_cloud import PairedCloud
from cmdfusion_ros.pairing.pairing import CloudAnchoredPairing
from cmdfusion_ros.pairing.report import SyncReport
from cmdfusion_ros.pairing.settings import LivePairing


def header_stamp(message: Any) -> int:
    """The stamp of a message with a header, int ns."""
    return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec


class MessageSource(Protocol):
    """A filter of message_filters, or what looks like one."""

    def registerCallback(self, callback: Callable[..., None], *arguments: Any) -> object:
        """Have `callback(message, *arguments)` called for each message."""


class PairingFilter:
    """Pairs the clouds of one filter with the images of others and calls its own callbacks with
    each PairedCloud.

    Inputs may come on several threads. Callbacks are called with no lock held, one cloud after the
    other; what a callback raises goes to whoever gave the message, and the next message finds all
    in order.

    Call `pairing_filter.on_tick` every few milliseconds from a timer; without, a cloud waits for
    the next message at worst.

    Args:
        settings: LiveSettings of PairingSettings, whose cameras are the keys of `images`.
        clock: see CloudAnchoredPairing.
        points: filter that gives clouds, e.g. message_filters.Subscriber(node, PointCloud2,
            "points").
        images: {camera: filter that gives its images}.
        on_reset: see CloudAnchoredPairing.
    """

    def __init__(
        self,
        settings: LivePairing,
        clock: Clock,
        points: MessageSource,
        images: Mapping[str, MessageSource],
        on_reset: Callable[[int, str], None] | None = None,
    ):
        cameras = settings.current.cameras
        if set(images) != set(cameras):
            raise ValueError(
                f"images: expected one input for each of {list(cameras)}, got {list(images)}"
            )
        self._lock = threading.RLock()
        self._callbacks: dict[int, tuple[Callable[..., None], tuple[Any, ...]]] = {}
        self._outbox: deque[PairedCloud] = deque()
        self._giving = False
        self._pairing = CloudAnchoredPairing(settings, clock, self._outbox.append, on_reset)
        points.registerCallback(self._on_cloud)
        for camera, source in images.items():
            source.registerCallback(self._on_image, camera)

    def registerCallback(
        self, callback: Callable[..., None], *arguments: Any
    ) -> int:  # message_filters' name
        """Have `callback(paired_cloud, *arguments)` called for each PairedCloud. Returns a
        number for the connection.
        """
        with self._lock:
            connection = len(self._callbacks)
            self._callbacks[connection] = (callback, arguments)
            return connection

    def on_tick(self) -> None:
        """See CloudAnchoredPairing."""
        self._do(self._pairing.on_tick)

    def set_camera_ready(
        self, camera: str, calibrated: bool = True, has_transform: bool = True
    ) -> None:
        """See CloudAnchoredPairing."""
        self._do(self._pairing.set_camera_ready, camera, calibrated, has_transform)

    def report(self) -> SyncReport:
        """SyncReport."""
        self.on_tick()
        with self._lock:
            return self._pairing.report()

    def _on_cloud(self, message: Any) -> None:
        self._do(self._pairing.on_cloud, header_stamp(message), message)

    def _on_image(self, message: Any, camera: str) -> None:
        self._do(self._pairing.on_image, camera, header_stamp(message), message)

    def _do(self, step: Callable[..., None], *arguments: Any) -> None:
        """Take one step under the lock and give out, without it, what was released. Only one
        thread gives at a time, so the order is kept.
        """
        with self._lock:
            step(*arguments)
            if self._giving:
                return
            self._giving = True
        while paired := self._next():
            try:
                for callback, extra in list(self._callbacks.values()):
                    callback(paired, *extra)
            except BaseException:
                with self._lock:
                    self._giving = False
                raise

    def _next(self) -> PairedCloud | None:
        """The next PairedCloud to give out; None ends the giving, under the lock, so that no
        cloud can slip in unseen.
        """
        with self._lock:
            self._giving = bool(self._outbox)
            return self._outbox.popleft() if self._outbox else None
