"""Serialised TFMessages are read as deserialising them would, whole or not at all."""

import numpy as np
import pytest
from builders.bag_messages import TRANSFORMS, make
from hypothesis import given, settings
from hypothesis import strategies as st

from cmdfusion_ros.data.bags.bag import ros2_types
from cmdfusion_ros.messages.clouds import MessageError
from cmdfusion_ros.messages.raw_transforms import plain_transform, read_raw_transforms
from cmdfusion_ros.messages.transforms import TransformBuffer

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=9)
NUMBERS = st.lists(st.floats(), min_size=7, max_size=7)
ITEMS = st.lists(st.tuples(NAMES, NAMES, st.integers(0, 2**31 * 10**9 - 1), NUMBERS), max_size=5)


def tf_message(*items):
    """(parent, child, stamp ns, seven numbers) each -> TFMessage."""
    return make(
        TRANSFORMS,
        [
            make(
                "geometry_msgs/msg/TransformStamped",
                make(
                    "std_msgs/msg/Header",
                    make("builtin_interfaces/msg/Time", *divmod(stamp, 10**9)),
                    parent,
                ),
                child,
                make(
                    "geometry_msgs/msg/Transform",
                    make("geometry_msgs/msg/Vector3", *numbers[:3]),
                    make("geometry_msgs/msg/Quaternion", *numbers[3:]),
                ),
            )
            for parent, child, stamp, numbers in items
        ],
    )


def serialised(message, little_endian=True):
    return bytes(ros2_types().serialize_cdr(message, TRANSFORMS, little_endian=little_endian))


@settings(max_examples=200, deadline=None)
@given(ITEMS, st.booleans())
def test_it_reads_what_deserialising_gives_in_either_byte_order(items, little_endian):
    message = tf_message(*items)
    read = read_raw_transforms(serialised(message, little_endian))
    assert repr(read) == repr([plain_transform(item) for item in message.transforms])


def test_in_cdr_2_doubles_lie_at_multiples_of_four():
    """What precedes the numbers of this one has 4 more than a multiple of 8 bytes."""
    raw = serialised(tf_message(("lidar", "camera", 5, [1.0, 2, 3, 0, 0, 0, 1])))
    moved = raw[:1] + b"\x07" + raw[2:-60] + raw[-56:]
    assert read_raw_transforms(moved) == read_raw_transforms(raw)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_bytes_give_transforms_or_a_declared_error(data):
    raw = bytearray(serialised(tf_message(("lidar", "front", 5, [0.0] * 7))) * 2)
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(raw[: data.draw(st.integers(0, len(raw)))])
    try:
        TransformBuffer().add_plain(read_raw_transforms(damaged), static=False)
    except MessageError as error:
        assert "transforms: " in str(error)


@pytest.mark.parametrize("cut", [1, 7, 8, 40, 90])
def test_a_message_that_is_cut_off_is_refused_whole(cut):
    raw = serialised(tf_message(("lidar", "front", 5, [0.0] * 6 + [1.0])))
    with pytest.raises(MessageError, match="transforms: "):
        read_raw_transforms(raw[:-cut])


def test_four_billion_announced_transforms_cost_no_more_than_the_bytes_that_came():
    raw = bytearray(serialised(tf_message(("lidar", "front", 5, [0.0] * 6 + [1.0]))))
    raw[4:8] = b"\xff" * 4
    with pytest.raises(MessageError, match="cut off"):
        read_raw_transforms(bytes(raw))


def test_a_buffer_takes_the_same_from_either():
    message = tf_message(("lidar", "front", 10**9, [1.0, 2, 3, 0.5, -0.5, 0.5, -0.5]),
                         ("lidar", "left", 10**9, [0.0] * 7))  # fmt: skip
    whole, raw = TransformBuffer(), TransformBuffer()
    assert whole.add(message, static=False) == raw.add_plain(
        read_raw_transforms(serialised(message)), static=False
    )
    np.testing.assert_array_equal(whole.lookup("front", "lidar"), raw.lookup("front", "lidar"))
