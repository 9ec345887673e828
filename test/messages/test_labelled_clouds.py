"""Labelled clouds of each layout: read back field by field, in the order of the input, and into
real messages.
"""

import struct
from types import SimpleNamespace

import numpy as np
import pytest

from cmdfusion_ros.class_map import ClassInfo, ClassMap
from cmdfusion_ros.frame import Prediction
from cmdfusion_ros.messages.clouds import MessageError, read_cloud
from cmdfusion_ros.messages.labelled_clouds import (
    fill_cloud,
    write_labelled_cloud,
    write_selected_cloud,
)

CLASS_MAP = ClassMap(
    "two",
    (ClassInfo("road", 40, (255, 0, 128)), ClassInfo("car", 10, (1, 2, 3), thing=True)),
    ignore_raw=0,
)
KINDS = {2: "B", 4: "H", 6: "I", 7: "f", 8: "d"}
XYZ = np.array(
    [[1, 2, 3], [np.nan, 0, 0], [4, 5, 6], [0, 0, 0], [7, 8, 9], [-1, -2, -3]], np.float32
)
PREDICTION = Prediction(
    np.array([0, 1, 1, 0], np.uint8),
    np.array([0.9, 0.8, 0.3, 1.0], np.float32),
    np.array([0, 1, 2, 5], np.uint32),
)
ROWS = np.array([True, False, True, False, True, True])


def field(name, offset, datatype, count=1):
    return SimpleNamespace(name=name, offset=offset, datatype=datatype, count=count)


def message(height=2, order="<", padding=0):
    """Six points: x y z intensity float32, two bytes of nothing, ring uint16; `padding` bytes
    after each row.
    """
    points = [
        struct.pack(f"{order}ffff2xH", *xyz, 51.0, 100 + row)
        for row, xyz in enumerate(XYZ.tolist())
    ]
    width = 6 // height
    data = b"".join(
        b"".join(points[line * width : (line + 1) * width]) + b"\xdd" * padding
        for line in range(height)
    )
    return SimpleNamespace(
        header=SimpleNamespace(stamp=SimpleNamespace(sec=1, nanosec=2), frame_id="lidar"),
        height=height,
        width=width,
        is_dense=False,
        fields=[
            field("x", 0, 7),
            field("y", 4, 7),
            field("z", 8, 7),
            field("intensity", 12, 7),
            field("ring", 18, 4),
        ],
        is_bigendian=order == ">",
        point_step=20,
        row_step=20 * width + padding,
        data=data,
    )


def columns_of(payload):
    """{name: values} of a CloudPayload, unpacked value by value with struct: nothing of the code
    under test.
    """
    data, order = bytes(payload.data), ">" if payload.is_bigendian else "<"
    starts = range(0, len(data), payload.point_step) if payload.point_step else ()
    return {
        f.name: [
            struct.unpack_from(order + KINDS[f.datatype], data, start + f.offset)[0]
            for start in starts
        ]
        for f in payload.fields
    }


def as_message(payload):
    fields = [field(f.name, f.offset, f.datatype, f.count) for f in payload.fields]
    return SimpleNamespace(
        header=message().header,
        height=payload.height,
        width=payload.width,
        is_dense=payload.is_dense,
        fields=fields,
        data=payload.data,
        is_bigendian=payload.is_bigendian,
        point_step=payload.point_step,
        row_step=payload.point_step * payload.width,
    )


def labelled(layout, built=None, rows=ROWS, **options):
    return write_labelled_cloud(
        read_cloud(built or message()), PREDICTION, rows, CLASS_MAP, layout, **options
    )


LABELS = [40, 0, 10, 0, 10, 40]
CONFIDENCE = [np.float32(value) for value in (0.9, 0, 0.8, 0, 0.3, 1.0)]
MASKS = [0, 0, 1, 0, 2, 5]
GREY = 90 << 16 | 90 << 8 | 90
COLORS = [0xFF0080, GREY, 0x010203, GREY, 0x010203, 0xFF0080]


def rgb_bits(values):
    return [struct.unpack("<I", struct.pack("<f", value))[0] for value in values]


def check_xyz(columns):
    np.testing.assert_array_equal(np.array([columns[axis] for axis in "xyz"], np.float32).T, XYZ)


@pytest.mark.parametrize(
    "built",
    [
        message(),
        message(1),
        message(3, ">"),
        message(2, "<", padding=6),
        message(2, ">", padding=7),
    ],
)
@pytest.mark.parametrize("layout", ["full", "minimal", "append", "autoware"])
def test_every_layout_keeps_points_order_count_and_organisation(layout, built):
    payload = labelled(layout, built)
    assert (payload.height, payload.width, payload.is_dense, payload.is_bigendian) == (
        built.height,
        built.width,
        False,
        False,
    )
    assert len(payload.data) == 6 * payload.point_step
    columns = columns_of(payload)
    check_xyz(columns)
    assert columns["class_id" if layout == "autoware" else "label"] == LABELS


def test_full_is_32_bytes_with_the_fields_rviz_and_pcl_know():
    payload = labelled("full")
    assert payload.point_step == 32
    assert [(f.name, f.offset, f.datatype) for f in payload.fields] == [
        ("x", 0, 7),
        ("y", 4, 7),
        ("z", 8, 7),
        ("intensity", 12, 7),
        ("rgb", 16, 7),
        ("label", 20, 6),
        ("confidence", 24, 7),
        ("camera_mask", 28, 6),
    ]
    columns = columns_of(payload)
    assert columns["intensity"] == pytest.approx([0.2] * 6)  # 51 of 255
    assert rgb_bits(columns["rgb"]) == COLORS
    assert columns["confidence"] == CONFIDENCE
    assert columns["camera_mask"] == MASKS


def test_minimal_is_16_bytes_and_autoware_17():
    assert [(f.name, f.offset, f.datatype) for f in labelled("minimal").fields][3:] == [
        ("label", 12, 6)
    ]
    payload = labelled("autoware")
    assert (labelled("minimal").point_step, payload.point_step) == (16, 17)
    assert [(f.name, f.offset, f.datatype) for f in payload.fields][3:] == [
        ("class_id", 12, 2),
        ("probability", 13, 7),
    ]
    assert columns_of(payload)["probability"] == CONFIDENCE


@pytest.mark.parametrize("order", ["<", ">"])
def test_append_keeps_the_fields_of_the_input_in_either_byte_order(order):
    payload = labelled("append", message(2, order, padding=3))
    assert [f.name for f in payload.fields] == [
        "x",
        "y",
        "z",
        "intensity",
        "ring",
        "rgb",
        "label",
        "confidence",
        "camera_mask",
    ]
    assert payload.point_step == 36
    columns = columns_of(payload)
    assert columns["intensity"] == [51.0] * 6  # as the sensor gave it
    assert columns["ring"] == list(range(100, 106))
    assert (rgb_bits(columns["rgb"]), columns["confidence"], columns["camera_mask"]) == (
        COLORS,
        CONFIDENCE,
        MASKS,
    )


def test_append_to_a_labelled_cloud_replaces_its_labels():
    once = labelled("append")
    turned = Prediction(1 - PREDICTION.labels, PREDICTION.confidence, PREDICTION.camera_mask)
    twice = write_labelled_cloud(read_cloud(as_message(once)), turned, ROWS, CLASS_MAP, "append")
    assert [f.name for f in twice.fields] == [f.name for f in once.fields]
    assert columns_of(twice)["label"] == [10, 0, 40, 0, 40, 10]
    assert columns_of(twice)["ring"] == list(range(100, 106))


def test_append_starts_at_a_whole_word():
    built = message()
    built.point_step, built.row_step, built.fields = 18, 54, built.fields[:4]
    built.data = b"".join(message().data[start : start + 18] for start in range(0, 120, 20))
    payload = labelled("append", built)
    assert payload.point_step == 36 and all(f.offset % 4 == 0 for f in payload.fields)
    assert columns_of(payload)["label"] == LABELS


def test_append_cannot_swap_bytes_it_does_not_understand():
    built = message(2, ">")
    built.fields.append(field("new", 16, 14))
    with pytest.raises(
        MessageError,
        match="field 'new': cannot swap bytes of the unknown datatype 14; use the layout full",
    ):
        labelled("append", built)


def test_a_point_below_the_threshold_is_unlabelled():
    columns = columns_of(labelled("full", confidence_threshold=0.8))
    assert columns["label"] == [40, 0, 10, 0, 0, 40]
    assert columns["confidence"] == [np.float32(value) for value in (0.9, 0, 0.8, 0, 0, 1.0)]
    assert rgb_bits(columns["rgb"])[4] == GREY
    assert columns["camera_mask"] == MASKS  # the camera saw it all the same


def test_unlabelled_points_get_the_id_that_was_asked_for():
    assert columns_of(labelled("minimal", unlabelled_id=99))["label"] == [40, 99, 10, 99, 10, 40]


@pytest.mark.parametrize("layout", ["full", "minimal", "append", "autoware"])
def test_row_numbers_do_as_well_as_a_mask(layout):
    assert labelled(layout, rows=np.flatnonzero(ROWS)).data == labelled(layout).data


def test_shuffled_points_give_shuffled_labels():
    cloud, order = read_cloud(message(1)), np.array([3, 0, 5, 1, 4, 2])
    shuffled = message(1)
    shuffled.data = b"".join(shuffled.data[20 * row : 20 * row + 20] for row in order)
    places = [order.tolist().index(row) for row in np.flatnonzero(ROWS)]
    straight = write_labelled_cloud(cloud, PREDICTION, ROWS, CLASS_MAP)
    again = write_labelled_cloud(read_cloud(shuffled), PREDICTION, np.array(places), CLASS_MAP)
    points = [bytes(straight.data[32 * row : 32 * row + 32]) for row in range(6)]
    assert [bytes(again.data[32 * row : 32 * row + 32]) for row in range(6)] == [
        points[row] for row in order
    ]


@pytest.mark.parametrize("fields", [[], message().fields])
@pytest.mark.parametrize("layout", ["full", "minimal", "append", "autoware"])
def test_an_empty_cloud_gives_an_empty_labelled_cloud(layout, fields):
    built = message(1)
    built.width, built.row_step, built.data, built.fields = 0, 0, b"", fields
    built.point_step = 20 if fields else 0
    nothing = Prediction(np.zeros(0, np.uint8), np.zeros(0, np.float32), np.zeros(0, np.uint32))
    payload = write_labelled_cloud(read_cloud(built), nothing, np.zeros(0, bool), CLASS_MAP, layout)
    assert (payload.width, len(payload.data)) == (0, 0)
    assert {"full": "label", "minimal": "label", "append": "label", "autoware": "class_id"}[
        layout
    ] in [f.name for f in payload.fields]


def test_a_cloud_of_which_no_point_is_usable_is_all_unlabelled():
    nothing = Prediction(np.zeros(0, np.uint8), np.zeros(0, np.float32), np.zeros(0, np.uint32))
    payload = write_labelled_cloud(read_cloud(message()), nothing, np.zeros(6, bool), CLASS_MAP)
    assert columns_of(payload)["label"] == [0] * 6


def test_every_point_labelled_goes_the_same_way():
    everything = Prediction(
        np.array([0, 1] * 3, np.uint8), np.ones(6, np.float32), np.arange(6, dtype=np.uint32)
    )
    columns = columns_of(
        write_labelled_cloud(read_cloud(message()), everything, np.ones(6, bool), CLASS_MAP)
    )
    assert (columns["label"], columns["camera_mask"]) == ([40, 10] * 3, list(range(6)))


def test_wrong_input_is_named():
    with pytest.raises(
        ValueError, match="layout: expected one of full, minimal, append, autoware, got 'fancy'"
    ):
        labelled("fancy")
    with pytest.raises(
        ValueError, match="prediction: expected 6 labels, one for each of `rows`, got 4"
    ):
        labelled("full", rows=np.ones(6, bool))
    far = ClassMap("far", (ClassInfo("a", 300, (0, 0, 0)), ClassInfo("b", 2, (0, 0, 0))))
    with pytest.raises(
        ValueError,
        match="layout autoware: expected raw labels up to 255.*got 300; use the layout full",
    ):
        write_labelled_cloud(read_cloud(message()), PREDICTION, ROWS, far, "autoware")


@pytest.mark.parametrize("built", [message(1), message(2, ">", padding=7)])
def test_selected_points_keep_their_own_layout(built):
    cloud = read_cloud(built)
    payload = write_selected_cloud(cloud, ROWS)
    assert (payload.height, payload.width, payload.point_step, payload.is_bigendian) == (
        1,
        4,
        20,
        built.is_bigendian,
    )
    columns = columns_of(payload)
    assert columns["ring"] == [100, 102, 104, 105]
    np.testing.assert_array_equal(read_cloud(as_message(payload)).points, XYZ[ROWS])
    assert len(write_selected_cloud(cloud, np.zeros(6, bool)).data) == 0


@pytest.mark.parametrize("distribution", ["ROS2_HUMBLE", "ROS2_KILTED"])
def test_a_real_message_takes_it_through_bytes_and_back(distribution):
    rosbags = pytest.importorskip("rosbags.typesys", reason="rosbags is not installed")
    store = rosbags.get_typestore(getattr(rosbags.Stores, distribution))
    types, name = store.types, "sensor_msgs/msg/PointCloud2"
    header = types["std_msgs/msg/Header"](
        stamp=types["builtin_interfaces/msg/Time"](sec=1, nanosec=2), frame_id="lidar"
    )
    empty = types[name](
        header=None,
        height=0,
        width=0,
        fields=[],
        is_bigendian=False,
        point_step=0,
        row_step=0,
        data=np.zeros(0, np.uint8),
        is_dense=False,
    )
    filled = fill_cloud(empty, labelled("full"), header, types["sensor_msgs/msg/PointField"])
    # rosbags serialises numpy, rclpy array.array
    filled.data = np.frombuffer(filled.data, np.uint8)
    back = store.deserialize_cdr(store.serialize_cdr(filled, name), name)
    cloud = read_cloud(back)
    np.testing.assert_array_equal(cloud.points, XYZ)
    assert (
        cloud.stamp,
        cloud.frame_id,
        cloud.height,
        cloud.width,
        back.row_step,
        back.is_dense,
    ) == (1_000_000_002, "lidar", 2, 3, 96, False)


def test_a_message_of_rclpy_takes_it_through_bytes_and_back():
    sensor_msgs = pytest.importorskip("sensor_msgs.msg", reason="ROS is not installed")
    serialization = pytest.importorskip("rclpy.serialization", reason="ROS is not installed")
    std_msgs = pytest.importorskip("std_msgs.msg", reason="ROS is not installed")
    payload = labelled("full")
    filled = fill_cloud(
        sensor_msgs.PointCloud2(),
        payload,
        std_msgs.Header(frame_id="lidar"),
        sensor_msgs.PointField,
    )
    assert filled.data == payload.data
    back = serialization.deserialize_message(
        serialization.serialize_message(filled), sensor_msgs.PointCloud2
    )
    np.testing.assert_array_equal(read_cloud(back).points, XYZ)
