"""Clouds whose few bytes announce much: no loop and no allocation is longer than what came."""

import struct
import time
from types import SimpleNamespace

import numpy as np
import pytest
from builders.messages import make_cloud

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.frame import Prediction
from cmdfusion_ros.messages.clouds import MAX_POINT_STEP, MessageError, read_cloud
from cmdfusion_ros.messages.labelled_clouds import write_labelled_cloud, write_selected_cloud
from cmdfusion_ros.messages.stamps import raw_frame_id, raw_num_fields
from cmdfusion_ros.messages.texts import printable

STREET = load_class_map("street")
LAYOUTS = ("full", "minimal", "append", "autoware")


def of(**changes):
    message = make_cloud(np.zeros((0, 3), np.float32))
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def field(name, datatype, count, offset=0):
    return SimpleNamespace(name=name, offset=offset, datatype=datatype, count=count)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("datatype", range(10))
@pytest.mark.parametrize("step", [2**32 - 1, MAX_POINT_STEP, 0])
@pytest.mark.parametrize("big_endian", [True, False])
def test_an_empty_cloud_with_a_huge_field_costs_nothing(layout, datatype, step, big_endian):
    message = of(
        height=0, width=0, point_step=step, row_step=0, data=b"", is_bigendian=big_endian,
        fields=[field("a", datatype, 2**32 - 1), field("b", datatype, MAX_POINT_STEP // 8)],
    )  # fmt: skip
    started = time.perf_counter()
    try:
        cloud = read_cloud(message)
        nothing = Prediction(np.zeros(0, np.uint8), np.zeros(0, np.float32), np.zeros(0, np.uint32))
        payload = write_labelled_cloud(cloud, nothing, cloud.usable, STREET, layout)
        assert len(payload.data) == 0 and payload.point_step < 2**17
        write_selected_cloud(cloud, cloud.usable)
    except MessageError:
        pass
    assert time.perf_counter() - started < 2


@pytest.mark.parametrize("count", [1, 3, 1000])
@pytest.mark.parametrize("datatype", [1, 3, 5, 7, 8])
def test_bytes_are_swapped_as_one_would_one_by_one(count, datatype):
    size = {1: 1, 3: 2, 5: 4, 7: 4, 8: 8}[datatype]
    points = np.arange(1, 7, dtype=">f4").reshape(2, 3)
    extra = np.random.default_rng(0).integers(0, 256, (2, size * count), np.uint8)
    step = 12 + size * count
    rows = np.concatenate([points.view(np.uint8).reshape(2, 12), extra], 1)
    message = of(
        height=1, width=2, point_step=step, row_step=2 * step, data=rows.tobytes(),
        is_bigendian=True,
        fields=[field(n, 7, 1, 4 * i) for i, n in enumerate("xyz")]
        + [field("extra", datatype, count, 12)],
    )  # fmt: skip
    cloud = read_cloud(message)
    prediction = Prediction(np.zeros(2, np.uint8), np.ones(2, np.float32), np.zeros(2, np.uint32))
    payload = write_labelled_cloud(cloud, prediction, cloud.usable, STREET, "append")
    written = np.frombuffer(payload.data, np.uint8).reshape(2, payload.point_step)
    one_by_one = extra.reshape(2, count, size)[:, :, ::-1].reshape(2, -1)
    np.testing.assert_array_equal(written[:, 12:step], one_by_one)
    np.testing.assert_array_equal(written[:, :12].copy().view("<f4"), points.astype("<f4"))


def serialised(frame_id=b"lidar", num_fields=4, tail=b""):
    """The first bytes of a PointCloud2, little-endian CDR."""
    body = struct.pack("<iI", 1, 2) + struct.pack("<I", len(frame_id) + 1) + frame_id + b"\0"
    body += b"\0" * (-len(body) % 4) + struct.pack("<III", 1, 100, num_fields)
    return b"\0\1\0\0" + body + tail


@pytest.mark.parametrize("name", [b"", b"a", b"ab", b"abc", b"lidar_top"])
def test_name_and_number_of_fields_are_read_before_deserialising(name):
    data = serialised(name, 4, bytes(200))
    assert raw_frame_id(data) == name.decode() and raw_num_fields(data) == 4


@pytest.mark.parametrize(
    "data",
    [
        serialised(num_fields=200_000),
        serialised(num_fields=2**32 - 1, tail=bytes(1000)),
        serialised(b"x" * 100_000),
        serialised()[:30],
        serialised()[:18],
    ],
)
def test_what_is_announced_must_be_there(data):
    with pytest.raises(ValueError, match="serialised"):
        raw_num_fields(data)


def test_a_terminal_obeys_nothing_that_a_frame_id_says():
    assert printable("\x1b[31mred\n\x07") == "\\x1b[31mred\\n\\x07"
    assert printable("a\u202eb\u2066") == "a\\u202eb\\u2066"  # reversed writing
    assert printable("\ud800") == "\ufffd"
    assert printable("Fahrbahn \u00e4\u00df") == "Fahrbahn \u00e4\u00df"
    assert len(printable("x" * 10**6)) < 1100
    assert printable("a\nb", lines=True) == "a\nb"
