"""Where things are: coordinate frames joined by transforms, some fixed, some moving.

`TransformBuffer` holds what /tf and /tf_static said, without ROS. Where tf2_ros is installed the
node uses that through `Tf2Buffer`, which has the same lookups and raises the same errors.
"""

import bisect
import heapq
import math
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import yaml

from cmdfusion_ros.geometry.transforms import interpolate, invert, rigid, rotation_from_quaternion
from cmdfusion_ros.messages.clouds import MessageError
from cmdfusion_ros.messages.raw_transforms import PlainTransform, plain_transform
from cmdfusion_ros.messages.texts import printable

FIXED_FRAMES = ("odom", "map", "world", "earth")  # to count motion in: the smoothest first
MOST_FRAMES = 4096  # a robot has some hundreds; a publisher gone mad any number
_MOST_STAMPS = 20_000  # of one moving frame: 2 kHz for ten seconds
_MOST_ABOVE = 256  # frames above one: a robot has twenty, and tf2 gives up at a thousand
_LONGEST_NAME = 256
_MOST_LISTED = 30  # names in an error
HISTORY_NS = 10_000_000_000  # how long a moving transform is remembered, as tf2 does


class TransformError(LookupError):
    """A transform that is not known. The text names the missing link."""


class ExtrapolationError(TransformError):
    """A transform that is known, but not at the time asked for. The text gives both times."""


class _Link:
    """What is known of one child's parent_from_child: one matrix if fixed, else a history sorted
    by stamp.
    """

    def __init__(self, parent: str, static: bool, history_ns: int, most_stamps: int):
        self.parent = parent
        self.static = static
        self._history_ns, self._most_stamps = history_ns, most_stamps
        self.stamps: list[int] = []
        self._numbers: list[tuple[float, ...]] = []  # of PlainTransforms; few are ever asked for

    def insert(self, stamp: int, numbers: tuple[float, ...]) -> None:
        # older than all that is kept: time began anew
        if self.static or (self.stamps and stamp < self.stamps[-1] - self._history_ns):
            self.stamps, self._numbers = [stamp], [numbers]
            return
        place = bisect.bisect_left(self.stamps, stamp)
        if place < len(self.stamps) and self.stamps[place] == stamp:
            self._numbers[place] = numbers
            return
        self.stamps.insert(place, stamp)
        self._numbers.insert(place, numbers)
        oldest = bisect.bisect_left(self.stamps, self.stamps[-1] - self._history_ns)
        oldest = max(oldest, len(self.stamps) - self._most_stamps)
        del self.stamps[:oldest], self._numbers[:oldest]

    def at(self, stamp: int, child: str) -> np.ndarray:
        if self.static:
            return _matrix(self._numbers[0])
        place = bisect.bisect_left(self.stamps, stamp)
        if place < len(self.stamps) and self.stamps[place] == stamp:
            return _matrix(self._numbers[place])
        if place in (0, len(self.stamps)):
            raise ExtrapolationError(
                f"transform {self.parent} <- {child} at {_seconds(stamp)}: known from "
                f"{_seconds(self.stamps[0])} to {_seconds(self.stamps[-1])}; "
                "is its publisher late, or is use_sim_time wrong?"
            )
        before, after = self.stamps[place - 1], self.stamps[place]
        return interpolate(
            _matrix(self._numbers[place - 1]),
            _matrix(self._numbers[place]),
            (stamp - before) / (after - before),
        )


def read_transform(message: Any) -> tuple[str, str, np.ndarray]:
    """geometry_msgs/TransformStamped -> (parent, child, parent_from_child (4, 4) float64); a
    leading "/" of a name (ROS 1) is dropped.

    Raises:
        MessageError: a quaternion of zeros or NaN, NaN translation, no name or one of over 256
            letters, a frame under itself.
    """
    item = plain_transform(message)
    return *_checked(item), _matrix(item.numbers)


def _checked(item: PlainTransform) -> tuple[str, str]:
    """(parent, child) of what is a transform; else raises as `read_transform`."""
    parent, child = _name(item.parent), _name(item.child)
    x, y, z, w = item.numbers[3:]
    try:
        # without numpy, which takes ten times as long; what looks odd here is looked at again
        if not 1e-12 < x * x + y * y + z * z + w * w < math.inf or not all(
            map(math.isfinite, item.numbers)
        ):
            _matrix(item.numbers)
        if not parent or not child or parent == child:
            raise ValueError("expected two different frame names")
        if max(len(parent), len(child)) > _LONGEST_NAME:
            raise ValueError(f"expected names of at most {_LONGEST_NAME} letters")
    except ValueError as error:
        shown = " <- ".join(repr(printable(name, _LONGEST_NAME)) for name in (parent, child))
        raise MessageError(f"transform {shown}: {error}") from error
    return parent, child


class TransformBuffer:
    """The tree of coordinate frames, fed by `add`. Any thread may call any method; none waits.

    Args:
        history_ns: how long a moving transform is remembered. most_stamps: how many of one are,
            whatever their stamps say.
    """

    def __init__(self, history_ns: int = HISTORY_NS, most_stamps: int = _MOST_STAMPS):
        self._history_ns, self._most_stamps = history_ns, most_stamps
        self._links: dict[str, _Link] = {}  # by child
        self._lock = threading.Lock()

    def add(self, message: Any, static: bool) -> tuple[str, ...]:
        """Take in a tf2_msgs/TFMessage.

        A child that appears under a new parent, or changes from fixed to moving, forgets what it
        was before. A leading "/" in a name (ROS 1) is dropped. Transforms that are no transforms
        (zero or NaN quaternion, NaN translation, no name, a frame under itself) are left out.

        Args:
            message: TFMessage. static: whether it came from /tf_static.

        Returns:
            tuple of str, one reason for each transform that was left out.
        """
        return self.add_plain(map(plain_transform, message.transforms), static)

    def add_plain(self, items: Iterable[PlainTransform], static: bool) -> tuple[str, ...]:
        """As `add`, of PlainTransforms."""
        problems = []
        for item in items:
            try:
                parent, child = _checked(item)
            except MessageError as error:
                problems.append(str(error))
                continue
            with self._lock:
                link = self._links.get(child)
                if link is None and not self._make_room():
                    problems.append(
                        f"transform {parent!r} <- {child!r}: {MOST_FRAMES} fixed frames are known "
                        "already; who publishes so many?"
                    )
                    continue
                if link is None or link.parent != parent or link.static != static:
                    link = _Link(parent, static, self._history_ns, self._most_stamps)
                    self._links[child] = link
                link.insert(item.stamp, item.numbers)
                if not static:  # the moving ones are kept in order of their last word
                    self._links[child] = self._links.pop(child)
        return tuple(problems)

    def _make_room(self) -> bool:
        """Whether one more frame may come in: the moving frame that has been silent for longest
        gives way to it; fixed ones never do, because they are said only once.
        """
        if len(self._links) < MOST_FRAMES:
            return True
        silent = next((name for name, link in self._links.items() if not link.static), None)
        if silent is None:
            return False
        del self._links[silent]
        return True

    def lookup(self, target: str, source: str, stamp: int = 0) -> np.ndarray:
        """target_from_source (4, 4) float64 at `stamp` ns, interpolated; at the newest time that
        all moving links share where `stamp` is 0.

        Raises:
            TransformError: no chain of transforms joins the two.
            ExtrapolationError: a moving link is not known at that time.
        """
        with self._lock:
            return self._lookup(_name(target), _name(source), stamp)

    def lookup_full(
        self, target: str, target_stamp: int, source: str, source_stamp: int, fixed: str
    ) -> np.ndarray:
        """target_from_source between two times: from where `source` was at its stamp to where
        `target` is at its own, seen from the frame `fixed`.

        Raises as `lookup` does.
        """
        with self._lock:
            fixed_from_source = self._lookup(_name(fixed), _name(source), source_stamp)
            return self._lookup(_name(target), _name(fixed), target_stamp) @ fixed_from_source

    def ancestors(self, frame_id: str) -> list[str]:
        """`frame_id`, the frame above it, and so on to the root; TransformError for a circle, or
        more than 256 frames.
        """
        with self._lock:
            return self._ancestors(_name(frame_id))

    def links(self) -> dict[str, tuple[str, bool]]:
        """{frame: (the frame above it, whether the link between them is fixed)}."""
        with self._lock:
            return {child: (link.parent, link.static) for child, link in self._links.items()}

    def frames(self) -> set[str]:
        """The names of all frames."""
        with self._lock:
            return set(self._links) | {link.parent for link in self._links.values()}

    def clear(self) -> None:
        """Forget what moves; for jumps in time. Fixed transforms stay, because a latched
        publisher will not send them again.
        """
        with self._lock:
            self._links = {child: link for child, link in self._links.items() if link.static}

    def _lookup(self, target: str, source: str, stamp: int) -> np.ndarray:
        up_source, up_target = self._ancestors(source), self._ancestors(target)
        over_target = set(up_target)
        shared = next((name for name in up_source if name in over_target), None)
        if shared is None:
            raise TransformError(self._why_apart(target, source, up_target, up_source))
        from_source = up_source[: up_source.index(shared)]
        from_target = up_target[: up_target.index(shared)]
        if stamp == 0:
            moving = [
                self._links[name].stamps[-1]
                for name in from_source + from_target
                if not self._links[name].static
            ]
            stamp = min(moving, default=0)
        return invert(self._chain(from_target, stamp)) @ self._chain(from_source, stamp)

    def _ancestors(self, name: str) -> list[str]:
        """`name`, its parent, and so on to the root."""
        names = {name: None}  # in order
        while name in self._links:
            name = self._links[name].parent
            if name in names:
                raise TransformError(
                    f"transform of {next(iter(names))}: the frames {_in_row([*names, name])} go "
                    "round in a circle; two publishers disagree"
                )
            if len(names) > _MOST_ABOVE:
                raise TransformError(
                    f"transform of {next(iter(names))}: more than {_MOST_ABOVE} frames are above "
                    f"it ({_in_row([*names])}); who publishes them?"
                )
            names[name] = None
        return [*names]

    def _chain(self, names: Sequence[str], stamp: int) -> np.ndarray:
        """ancestor_from_first of the links of `names`, in order from the leaf."""
        matrix = np.eye(4)
        for name in names:
            matrix = self._links[name].at(stamp, name) @ matrix
        return matrix

    def _why_apart(
        self, target: str, source: str, up_target: Sequence[str], up_source: Sequence[str]
    ) -> str:
        known = set(self._links) | {link.parent for link in self._links.values()}
        missing = [name for name in (target, source) if name not in known]
        if missing:
            return (
                f"transform {target} <- {source}: no transform names {' or '.join(missing)}; "
                f"known: {_listed(known)}"
            )
        return (
            f"transform {target} <- {source}: not joined; {target} hangs under {up_target[-1]}, "
            f"{source} under {up_source[-1]}, and nothing joins them"
        )


class Tf2Buffer:
    """The lookups of `TransformBuffer` on a tf2_ros.Buffer, which its own listener feeds.

    Args:
        buffer: tf2_ros.Buffer. make_time: int ns -> rclpy.time.Time. error:
            tf2_ros.TransformException.
    """

    def __init__(self, buffer: Any, make_time: Callable[[int], Any], error: type[Exception]):
        self._buffer = buffer
        self._make_time = make_time
        self._error = error

    def lookup(self, target: str, source: str, stamp: int = 0) -> np.ndarray:
        """As `TransformBuffer.lookup`."""
        return self._call(
            self._buffer.lookup_transform, _name(target), _name(source), self._make_time(stamp)
        )

    def lookup_full(
        self, target: str, target_stamp: int, source: str, source_stamp: int, fixed: str
    ) -> np.ndarray:
        """As `TransformBuffer.lookup_full`."""
        times = self._make_time(target_stamp), self._make_time(source_stamp)
        return self._call(
            self._buffer.lookup_transform_full,
            _name(target),
            times[0],
            _name(source),
            times[1],
            _name(fixed),
        )

    def frames(self) -> set[str]:
        """As `TransformBuffer.frames`."""
        links = yaml.safe_load(self._buffer.all_frames_as_yaml()) or {}
        return set(links) | {str(link["parent"]) for link in links.values()}

    def clear(self) -> None:
        """As `TransformBuffer.clear`; tf2 keeps what is fixed too."""
        self._buffer.clear()

    def _call(self, method: Callable[..., Any], *arguments: Any) -> np.ndarray:
        try:
            return matrix_from_transform(method(*arguments).transform)
        except self._error as error:
            kind = ExtrapolationError if "Extrapolation" in type(error).__name__ else TransformError
            raise kind(str(error)) from error


def matrix_from_transform(transform: Any) -> np.ndarray:
    """geometry_msgs/Transform -> (4, 4) float64. Raises ValueError for a zero quaternion, NaN or
    infinity.
    """
    shift, turn = transform.translation, transform.rotation
    return _matrix((shift.x, shift.y, shift.z, turn.x, turn.y, turn.z, turn.w))


def _matrix(numbers: tuple[float, ...]) -> np.ndarray:
    """As `matrix_from_transform`, of the numbers of a PlainTransform."""
    translation = np.array(numbers[:3], np.float64)
    if not np.isfinite(translation).all():
        raise ValueError(f"translation: expected three finite numbers, got {translation.tolist()}")
    return rigid(rotation_from_quaternion(numbers[3:]), translation)


def _listed(names: set[str]) -> str:
    """Some frame names for a person: of thousands, those that come first."""
    shown = ", ".join(heapq.nsmallest(_MOST_LISTED, names)) or "none"
    more = len(names) - _MOST_LISTED
    return f"{shown} and {more} more" if more > 0 else shown


def _in_row(names: Sequence[str]) -> str:
    """Frames under each other, for a person: of many, the first and the last."""
    if len(names) > _MOST_LISTED:
        names = [*names[: _MOST_LISTED - 1], "...", names[-1]]
    return " <- ".join(names)


def _name(frame_id: Any) -> str:
    return str(frame_id).lstrip("/")


def _seconds(stamp: int) -> str:
    return f"{stamp // 1_000_000_000}.{stamp % 1_000_000_000:09d} s"
