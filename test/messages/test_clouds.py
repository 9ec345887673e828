"""Clouds of every layout, built byte by byte here, and what is said of malformed ones."""

from types import SimpleNamespace

import numpy as np
import pytest
from builders.packed_clouds import TYPES, XYZ, cloud_message, header, some_points
from hypothesis import given, settings
from hypothesis import strategies as st

from cmdfusion_ros.messages.clouds import (
    MAX_RANGE,
    MessageError,
    read_cloud,
    stamp_ns,
)
from cmdfusion_ros.messages.stamps import raw_stamp_ns


@pytest.mark.parametrize("is_bigendian", [False, True])
@pytest.mark.parametrize(("gap", "row_padding"), [(0, 0), (4, 0), (1, 0), (0, 8), (3, 5)])
@pytest.mark.parametrize("height", [1, 3])
@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_points_come_out_in_order_whatever_the_layout(kind, height, gap, row_padding, is_bigendian):
    xyz, columns = some_points()
    names = [("x", kind), ("y", kind), ("z", kind)]
    cloud = read_cloud(cloud_message(columns, names, height, gap, row_padding, is_bigendian))
    np.testing.assert_array_equal(cloud.points, xyz)
    assert cloud.points.dtype == np.float32 and cloud.points.dtype.isnative
    assert (cloud.height, cloud.width, cloud.num_points) == (height, 12 // height, 12)
    assert cloud.usable.all()
    assert (cloud.stamp, cloud.frame_id, cloud.is_dense) == (12_000_000_345, "lidar", True)


def test_fields_are_found_by_name_in_any_order_and_of_mixed_types():
    xyz, columns = some_points()
    columns.update(ring=list(range(12)), t=[7] * 12, intensity=[10.0] * 12)
    names = [
        ("ring", "u2"),
        ("z", "f8"),
        ("t", "u4"),
        ("x", "f4"),
        ("intensity", "f4"),
        ("y", "f8"),
    ]
    np.testing.assert_array_equal(read_cloud(cloud_message(columns, names)).points, xyz)


@pytest.mark.parametrize("names", [XYZ, [*XYZ, ("intensity", "f4")], [("ring", "u4"), *XYZ]])
def test_plain_float_points_are_not_copied_and_cannot_be_written(names):
    _, columns = some_points()
    columns.update(intensity=[0.5] * 12, ring=[1] * 12)
    message = cloud_message(columns, names)
    cloud = read_cloud(message)
    assert np.shares_memory(cloud.points, np.frombuffer(message.data, np.uint8))
    assert not cloud.points.flags.writeable


def test_points_at_odd_bytes_are_copied_so_that_torch_takes_them():
    _, columns = some_points()
    # 13 bytes a point
    points = read_cloud(cloud_message({**columns, "tag": [1] * 12}, [*XYZ, ("tag", "u1")])).points
    assert all(stride % 4 == 0 for stride in points.strides) and points.flags.aligned


@pytest.mark.parametrize(
    "no_point",
    [
        (0, 0, 0),
        (np.nan, 1, 1),
        (1, np.nan, 1),
        (1, 1, np.nan),
        (np.inf, 1, 1),
        (1, -np.inf, 1),
        (np.inf, -np.inf, 1),
        (1e30, 1, 1),
        (-0.0, 0.0, -0.0),
    ],
)
def test_rows_without_a_point_are_marked_and_kept(no_point):
    xyz, columns = some_points()
    for name, value in zip("xyz", no_point, strict=True):
        columns[name][5] = value
    cloud = read_cloud(cloud_message(columns))
    assert cloud.usable.tolist() == [True] * 5 + [False] + [True] * 6
    assert cloud.num_points == 12
    np.testing.assert_array_equal(cloud.points[6:], xyz[6:])


def test_a_float64_beyond_float32_is_no_point_and_no_warning(recwarn):
    cloud = read_cloud(
        cloud_message(
            {"x": [1e300, 1.0], "y": [0.0, 0.0], "z": [0.0, 0.0]},
            [("x", "f8"), ("y", "f8"), ("z", "f8")],
        )
    )
    assert cloud.usable.tolist() == [False, True]
    assert not recwarn.list


def test_a_point_just_inside_the_largest_range_counts():
    cloud = read_cloud(
        cloud_message({"x": [0.99 * MAX_RANGE, 1.01 * MAX_RANGE], "y": [0.0, 0.0], "z": [0.0, 0.0]})
    )
    assert cloud.usable.tolist() == [True, False]


@pytest.mark.parametrize(
    "changes", [{}, {"fields": [], "point_step": 0, "row_step": 0}, {"height": 0}, {"data": b""}]
)
def test_a_cloud_without_points_is_an_empty_cloud(changes):
    cloud = read_cloud(
        cloud_message({}, **changes), intensity_field="intensity" if "fields" in changes else "auto"
    )
    assert cloud.points.shape == (0, 3) and cloud.points.dtype == np.float32
    assert cloud.usable.shape == cloud.intensity.shape == (0,)


def test_an_empty_cloud_may_have_fields_without_a_point_step():
    cloud = read_cloud(cloud_message({}, point_step=0))
    assert cloud.num_points == 0 and cloud.raw.shape == (0, 12)


def test_a_count_of_zero_is_one_and_a_single_row_needs_no_row_step():
    xyz, columns = some_points()
    message = cloud_message(columns, row_step=0)
    for item in message.fields:
        item.count = 0
    cloud = read_cloud(message)
    np.testing.assert_array_equal(cloud.points, xyz)
    assert [item.count for item in cloud.fields] == [1, 1, 1]


def test_an_organised_cloud_of_zero_width_is_empty():
    cloud = read_cloud(cloud_message({}, height=64))
    assert (cloud.height, cloud.width, cloud.num_points) == (64, 0, 0)


def field(name, offset, datatype=7, count=1):
    return SimpleNamespace(name=name, offset=offset, datatype=datatype, count=count)


def changed(**changes):
    message = cloud_message(some_points()[1], height=3)
    return SimpleNamespace(**{**vars(message), **changes})


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (
            changed(data=bytes(143)),
            r"cloud data: expected 144 bytes \(3 rows of 48\), got 143: cut off; does the "
            r"transport lose fragments",
        ),
        (changed(data=b""), "expected 144 bytes"),
        (changed(data=bytes(145)), "expected 144 bytes.*got 145; are height and width right"),
        (changed(row_step=47), "row_step: expected at least width \\* point_step = 48, got 47"),
        (changed(row_step=0), "row_step"),
        (changed(row_step=96), "expected 240 bytes"),
        (
            changed(point_step=0, row_step=0, fields=[], data=b""),
            "point_step: expected more than 0 for 3 x 4 points",
        ),
        (
            changed(point_step=11),
            "field 'z': expected to end within point_step = 11 bytes, ends at 12",
        ),
        (changed(height=4_294_967_295), "got 144: cut off"),
        (changed(height=4_294_967_295, width=4_294_967_295, row_step=4_294_967_295), "row_step"),
        (
            changed(fields=[field("x", 0), field("y", 4), field("z", 4_294_967_295)]),
            "field 'z': expected to end within",
        ),
        (
            changed(fields=[field("x", 0), field("y", 4)]),
            "expected one field 'z', got 0 among x, y; is this the LiDAR's topic",
        ),
        (changed(fields=[]), "expected one field 'x', got 0 among none"),
        (
            changed(fields=[field("x", 0), field("x", 4), field("y", 4), field("z", 8)]),
            "expected one field 'x', got 2",
        ),
        (
            changed(fields=[field("x", 0, count=2), field("y", 4), field("z", 8)]),
            "field 'x': expected one FLOAT32 or FLOAT64 a point, got 2 FLOAT32",
        ),
        (
            changed(fields=[field("x", 0, 5), field("y", 4), field("z", 8)]),
            "field 'x': expected one FLOAT32 or FLOAT64 a point, got 1 INT32; let the driver",
        ),
        (
            changed(
                fields=[field("x", 0), field("y", 4), field("z", 8), field("intensity", 8, 99)]
            ),
            "field 'intensity'.*datatype 99",
        ),
        (
            changed(fields=[field("x", 0), field("y", 4), field("z", 8), field("ring", 12, 4)]),
            "field 'ring': expected to end within",
        ),
        (changed(data=[0] * 144), "expected a buffer of bytes, got list"),
    ],
)
def test_a_malformed_cloud_is_an_error_that_says_what_was_expected(message, text):
    with pytest.raises(MessageError, match=text):
        read_cloud(message)


def test_a_field_of_an_unknown_type_that_nobody_reads_does_no_harm():
    fields = [field("x", 0), field("y", 4), field("z", 8), field("new", 8, 12)]
    assert read_cloud(changed(fields=fields)).num_points == 12


def test_the_last_row_may_lack_its_padding():
    xyz, columns = some_points()
    message = cloud_message(columns, height=3, row_padding=8)
    message.data = message.data[:-8]
    np.testing.assert_array_equal(read_cloud(message).points, xyz)


def test_any_buffer_of_bytes_will_do():
    xyz, columns = some_points()
    message = cloud_message(columns)
    for make in (bytes, bytearray, memoryview, lambda data: np.frombuffer(data, np.uint8)):
        np.testing.assert_array_equal(
            read_cloud(SimpleNamespace(**{**vars(message), "data": make(message.data)})).points, xyz
        )


small, large = st.integers(0, 40), st.integers(0, 2**32 - 1)
any_field = st.builds(
    field,
    st.sampled_from(["x", "y", "z", "intensity", "ring", ""]),
    small | large,
    st.integers(0, 255),
    st.integers(0, 3) | large,
)
sound_fields = st.just([field("x", 0), field("y", 4), field("z", 8)])


@settings(max_examples=400, deadline=None)
@given(
    height=small | large,
    width=small | large,
    point_step=st.sampled_from([0, 12, 16]) | large,
    row_step=small | large,
    fields=sound_fields | st.lists(any_field, max_size=6),
    is_bigendian=st.booleans(),
    data=st.binary(max_size=400),
    intensity_field=st.sampled_from(["auto", "none", "ring"]),
)
def test_whatever_a_cloud_message_holds_only_a_message_error_comes_out(
    height, width, point_step, row_step, fields, is_bigendian, data, intensity_field
):
    message = SimpleNamespace(
        header=header(),
        height=height,
        width=width,
        point_step=point_step,
        row_step=row_step,
        fields=fields,
        is_bigendian=is_bigendian,
        is_dense=True,
        data=data,
    )
    try:
        cloud = read_cloud(message, intensity_field)
    except MessageError:
        return
    assert cloud.points.shape == (height * width, 3)


@settings(max_examples=200, deadline=None)
@given(
    data=st.binary(min_size=144, max_size=144),
    kind=st.sampled_from(["f4", "u1", "u2", "i2"]),
    is_bigendian=st.booleans(),
)
def test_whatever_the_bytes_of_a_sound_cloud_are_its_numbers_are_usable(data, kind, is_bigendian):
    step = 12 + np.dtype(kind).itemsize
    fields = [field("x", 0), field("y", 4), field("z", 8), field("intensity", 12, TYPES[kind])]
    width = 144 // step
    cloud = read_cloud(
        changed(
            height=1,
            width=width,
            fields=fields,
            point_step=step,
            row_step=144,
            data=data,
            is_bigendian=is_bigendian,
        )
    )
    assert np.isfinite(cloud.points[cloud.usable]).all()
    assert ((cloud.intensity >= 0) & (cloud.intensity <= 1)).all()
    np.testing.assert_array_equal(
        cloud.raw, np.frombuffer(data, np.uint8)[: width * step].reshape(width, step)
    )


def test_a_stamp_is_nanoseconds():
    assert stamp_ns(SimpleNamespace(sec=3, nanosec=4)) == 3_000_000_004


@pytest.mark.parametrize("distribution", ["ROS2_HUMBLE", "ROS2_KILTED", "ROS1_NOETIC"])
def test_messages_of_real_types_are_read_after_their_way_through_bytes(distribution):
    rosbags = pytest.importorskip("rosbags.typesys", reason="rosbags is not installed")
    store = rosbags.get_typestore(getattr(rosbags.Stores, distribution))
    types = store.types
    xyz, columns = some_points()
    built = cloud_message(columns, height=3, row_padding=4)
    extra = {"seq": 1} if distribution.startswith("ROS1") else {}
    real_header = types["std_msgs/msg/Header"](
        **extra, stamp=types["builtin_interfaces/msg/Time"](sec=5, nanosec=6), frame_id="os_lidar"
    )
    fields = [types["sensor_msgs/msg/PointField"](**vars(item)) for item in built.fields]
    message = types["sensor_msgs/msg/PointCloud2"](
        **{
            **vars(built),
            "header": real_header,
            "fields": fields,
            "data": np.frombuffer(built.data, np.uint8),
        }
    )
    name = "sensor_msgs/msg/PointCloud2"
    if distribution.startswith("ROS1"):
        cloud = read_cloud(store.deserialize_ros1(store.serialize_ros1(message, name), name))
    else:
        raw = store.serialize_cdr(message, name)
        cloud = read_cloud(store.deserialize_cdr(raw, name))
        assert raw_stamp_ns(raw) == 5_000_000_006
        assert (
            raw_stamp_ns(store.serialize_cdr(message, name, little_endian=False)) == 5_000_000_006
        )
    np.testing.assert_array_equal(cloud.points, xyz)
    assert (cloud.stamp, cloud.frame_id) == (5_000_000_006, "os_lidar")
