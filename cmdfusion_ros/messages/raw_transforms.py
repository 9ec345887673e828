"""Serialised tf2_msgs/TFMessage -> its numbers, without deserialising it.

/tf comes a hundred times a second with all that moves on a robot, and rclpy makes eleven Python
objects of each transform. A thousand take 20 ms there and 3 ms here, in which nothing else runs.
"""

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from cmdfusion_ros.messages.clouds import MessageError, stamp_ns


class PlainTransform(NamedTuple):
    """A geometry_msgs/TransformStamped: its names as they came, its stamp in ns, and x, y, z of the
    translation in metres, then x, y, z, w of the quaternion, neither checked.
    """

    parent: str
    child: str
    stamp: int
    numbers: tuple[float, ...]


def plain_transform(message: Any) -> PlainTransform:
    """A geometry_msgs/TransformStamped as a PlainTransform."""
    shift, turn = message.transform.translation, message.transform.rotation
    return PlainTransform(
        str(message.header.frame_id),
        str(message.child_frame_id),
        stamp_ns(message.header.stamp),
        (shift.x, shift.y, shift.z, turn.x, turn.y, turn.z, turn.w),
    )


def read_raw_transforms(data: bytes) -> list[PlainTransform]:
    """The PlainTransforms of a serialised TFMessage, in order. Takes both byte orders of plain CDR
    and CDR 2. Its time is bounded by the bytes that came, whatever number they announce.

    Raises:
        MessageError: they are no such message, or end early.
    """
    if len(data) < 8 or data[0] != 0 or data[1] not in (0, 1, 6, 7):
        raise MessageError(
            f"transforms: expected a plain CDR header and a count, got {len(data)} bytes "
            f"({bytes(data[:8]).hex(' ')})"
        )
    try:
        return list(_transforms(data, "<" if data[1] & 1 else ">", 8 if data[1] < 6 else 4))
    except struct.error as error:
        raise MessageError(
            f"transforms: {len(data)} bytes end in the middle of one; were they cut off?"
        ) from error


def _transforms(data: bytes, order: str, align: int) -> Iterator[PlainTransform]:
    word, time = struct.Struct(f"{order}I"), struct.Struct(f"{order}iI")
    numbers = struct.Struct(f"{order}7d")

    def text(place: int) -> tuple[str, int]:
        """(string, where it ends)."""
        (length,) = word.unpack_from(data, place)
        end = place + 4 + length
        if end > len(data):
            raise struct.error("string")
        return data[place + 4 : max(end - 1, place + 4)].decode("utf-8", "replace"), end

    (count,) = word.unpack_from(data, 4)
    place = 8
    for _ in range(count):
        place += -place % 4
        seconds, nanoseconds = time.unpack_from(data, place)
        parent, place = text(place + 8)
        child, place = text(place + -place % 4)
        place += (4 - place) % align  # counted from the end of the four bytes of the CDR header
        yield PlainTransform(
            parent,
            child,
            seconds * 1_000_000_000 + nanoseconds,
            numbers.unpack_from(data, place),
        )
        place += numbers.size
