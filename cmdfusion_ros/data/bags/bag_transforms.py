"""All transforms of a bag, known at once: what moves, and in which frame to count its motion."""

import numpy as np

from cmdfusion_ros.data.bags.bag import Bag
from cmdfusion_ros.geometry.trajectory import Trajectory
from cmdfusion_ros.messages.transforms import FIXED_FRAMES, TransformBuffer, TransformError

_FOREVER_NS = _EVERY_STAMP = 1 << 62
_STILL = 1e-6  # metres, and differences of a rotation's numbers


class BagTransforms:
    """The transforms that a bag holds, all of them, whenever they were recorded.

    Args:
        bag: open Bag. topics: of its transforms. frame_id: the frame whose motion is asked for.

    Attributes:
        buffer: TransformBuffer that forgets nothing.
        fixed_frame: the frame above `frame_id` that its motion is counted in: odom before map, as
            a map's frame jumps when the place is found again; "" where nothing moves.
        trajectory: of `frame_id` in `fixed_frame`, at every stamp of the moving links; None where
            nothing moves, which links that are sent again and again without change do not.
    """

    def __init__(self, bag: Bag, topics: tuple[str, ...], frame_id: str):
        self.buffer = TransformBuffer(_FOREVER_NS, _EVERY_STAMP)
        self._stamps: dict[str, set[int]] = {}  # child -> stamps of the link above it
        for message in bag.messages(topics):
            self._take(bag, message)
        self.fixed_frame, self.trajectory = "", None
        try:
            above = self.buffer.ancestors(frame_id)
        except TransformError:  # a circle; `inspect` says so, and what needs no motion goes on
            return
        moving = [name for name in above if len(self._stamps.get(name, ())) > 1]
        if moving:
            lowest = above.index(moving[0]) + 1
            fixed = next((name for name in FIXED_FRAMES if name in above[lowest:]), above[-1])
            self.trajectory = self._trajectory(fixed, frame_id, moving)
            self.fixed_frame = fixed if self.trajectory is not None else ""

    def _take(self, bag: Bag, message) -> None:
        try:
            content = bag.deserialize(message)
        except ValueError:  # costs this message; what is missing then is said where it is needed
            return
        static = message.topic.endswith("tf_static") or bag.topics[message.topic].latched
        self.buffer.add(content, static)
        for item in () if static else content.transforms:
            stamp = int(item.header.stamp.sec) * 1_000_000_000 + int(item.header.stamp.nanosec)
            self._stamps.setdefault(str(item.child_frame_id).lstrip("/"), set()).add(stamp)

    def _trajectory(self, fixed: str, frame_id: str, moving: list[str]) -> Trajectory | None:
        poses = {}
        for stamp in sorted(set().union(*(self._stamps[name] for name in moving))):
            try:
                poses[stamp] = self.buffer.lookup(fixed, frame_id, stamp)
            except TransformError:
                continue
        if not poses or np.ptp(list(poses.values()), axis=0).max() < _STILL:
            return None
        return Trajectory(np.array(list(poses), np.int64), np.array(list(poses.values())))
