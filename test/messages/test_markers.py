"""Markers: places worked out by hand, colours by state, and that a real Marker message
takes them.
"""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.geometry.transforms import rigid, yaw_rotation
from cmdfusion_ros.messages import markers
from cmdfusion_ros.pairing.paired_cloud import CameraStatus, Mode

CLASS_MAP = load_class_map("street")
# looks along x of the LiDAR
OPTICAL_FROM_LIDAR = rigid(np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]]), (0.0, 0.0, 0.0))


def test_a_box_is_a_cube_of_its_class_colour_turned_by_its_yaw():
    car = CLASS_MAP.label("car")
    box = SimpleNamespace(
        label=car,
        centre=np.array([10.0, -2.0, -0.5]),
        size=np.array([4.5, 1.8, 1.5]),
        yaw=np.pi / 2,
        num_points=200,
    )
    (marker,) = markers.box_markers([box], CLASS_MAP)
    assert (marker.kind, marker.position, marker.scale) == (
        markers.CUBE,
        (10.0, -2.0, -0.5),
        (4.5, 1.8, 1.5),
    )
    np.testing.assert_allclose(marker.quaternion, (0, 0, np.sqrt(0.5), np.sqrt(0.5)), atol=1e-12)
    np.testing.assert_allclose(np.array(marker.color[:3]) * 255, CLASS_MAP.colors[car], atol=1e-9)
    assert 0 < marker.color[3] < 1


def test_no_boxes_give_no_markers():
    assert markers.box_markers([], CLASS_MAP) == ()


def test_the_legend_names_every_class_once_and_no_two_lines_meet():
    legend = markers.legend_markers(CLASS_MAP)
    assert [marker.text for marker in legend] == list(CLASS_MAP.names)
    heights = [marker.position[2] for marker in legend]
    assert all(
        above - below >= marker.scale[2]
        for above, below, marker in zip(heights, heights[1:], legend, strict=False)
    )


@pytest.mark.parametrize(
    ("mode", "text"), [(Mode.FUSED, "FUSED 6/6"), (Mode.LIDAR_ONLY, "LIDAR_ONLY 6/6")]
)
def test_the_mode_is_written_out(mode, text):
    marker = markers.mode_marker(mode, "6/6")
    assert (marker.kind, marker.text) == (markers.TEXT, text)
    assert markers.mode_marker(mode).text == mode.name


@pytest.mark.parametrize(
    ("status", "color"),
    [
        (CameraStatus.FUSED, markers.GREEN),
        (CameraStatus.NO_IMAGE, markers.AMBER),
        (CameraStatus.OFFLINE, markers.RED),
        (CameraStatus.DECODE_ERROR, markers.RED),
    ],
)
def test_a_frustum_has_the_colour_of_its_camera_state(status, color):
    assert markers.frustum_marker(
        0, status, np.diag([100.0, 100.0, 1.0]), (200, 100), OPTICAL_FROM_LIDAR
    ).color == (*color, 1.0)


def test_a_frustum_opens_along_the_line_of_sight_as_wide_as_the_image():
    # 200 x 100 pixels, axis in the middle: half widths 1 and 0.5 at 1 m
    intrinsic = np.array([[100.0, 0, 99.5], [0, 100.0, 49.5], [0, 0, 1]])
    marker = markers.frustum_marker(
        3, CameraStatus.FUSED, intrinsic, (200, 100), OPTICAL_FROM_LIDAR
    )
    assert (marker.kind, marker.number, marker.points.shape) == (markers.LINE_LIST, 3, (16, 3))
    corners = {tuple(np.round(point, 9)) for point in marker.points}
    assert corners == {(0.0, 0.0, 0.0)} | {(2.0, y, z) for y in (-2.0, 2.0) for z in (-1.0, 1.0)}


def test_a_frustum_starts_at_the_lens():
    # one that looks left
    lidar_from_camera = rigid(
        yaw_rotation(np.pi / 2) @ OPTICAL_FROM_LIDAR[:3, :3].T, (1.0, 2.0, 3.0)
    )
    marker = markers.frustum_marker(
        0,
        CameraStatus.FUSED,
        np.array([[100.0, 0, 100], [0, 100.0, 50], [0, 0, 1]]),
        (201, 101),
        np.linalg.inv(lidar_from_camera),
    )
    np.testing.assert_allclose(marker.points[0], (1, 2, 3), atol=1e-12)
    # 2 m to the left
    np.testing.assert_allclose(marker.points[1::2][:4].mean(0), (1, 4, 3), atol=1e-12)


def test_a_real_marker_message_takes_every_kind():
    rosbags = pytest.importorskip("rosbags.typesys", reason="rosbags is not installed")
    store = rosbags.get_typestore(rosbags.Stores.ROS2_HUMBLE)
    types = store.types
    vector, quaternion, color = (
        types["geometry_msgs/msg/Vector3"],
        types["geometry_msgs/msg/Quaternion"],
        types["std_msgs/msg/ColorRGBA"],
    )
    point, pose, duration = (
        types["geometry_msgs/msg/Point"],
        types["geometry_msgs/msg/Pose"],
        types["builtin_interfaces/msg/Duration"],
    )
    header = types["std_msgs/msg/Header"](
        stamp=types["builtin_interfaces/msg/Time"](sec=1, nanosec=2), frame_id="lidar"
    )
    image = types["sensor_msgs/msg/CompressedImage"](
        header=header, format="", data=np.zeros(0, np.uint8)
    )

    def empty():
        marker = types["visualization_msgs/msg/Marker"](
            header=header,
            ns="",
            id=0,
            type=0,
            action=0,
            pose=pose(position=point(x=0, y=0, z=0), orientation=quaternion(x=0, y=0, z=0, w=1)),
            scale=vector(x=0, y=0, z=0),
            color=color(r=0, g=0, b=0, a=0),
            lifetime=duration(sec=0, nanosec=0),
            frame_locked=False,
            points=[],
            colors=[],
            texture_resource="",
            texture=image,
            uv_coordinates=[],
            text="",
            mesh_resource="",
            mesh_file=types["visualization_msgs/msg/MeshFile"](
                filename="", data=np.zeros(0, np.uint8)
            ),
            mesh_use_embedded_materials=False,
        )
        return marker

    box = SimpleNamespace(
        label=0, centre=(1.0, 2.0, 3.0), size=(4.0, 5.0, 6.0), yaw=0.0, num_points=1
    )
    frustum = markers.frustum_marker(
        2, CameraStatus.OFFLINE, np.diag([100.0, 100.0, 1.0]), (200, 100), OPTICAL_FROM_LIDAR
    )
    for spec in (
        *markers.box_markers([box], CLASS_MAP),
        frustum,
        markers.mode_marker(Mode.PARTIAL),
        markers.legend_markers(CLASS_MAP)[3],
    ):
        message = markers.fill_marker(
            empty(), spec, header, duration(sec=0, nanosec=500_000_000), point
        )
        back = store.deserialize_cdr(
            store.serialize_cdr(message, "visualization_msgs/msg/Marker"),
            "visualization_msgs/msg/Marker",
        )
        assert (back.ns, back.id, back.type, back.action, back.text, back.frame_locked) == (
            spec.namespace,
            spec.number,
            spec.kind,
            0,
            spec.text,
            True,
        )
        assert (back.scale.x, back.pose.position.y, back.pose.orientation.w) == (
            spec.scale[0],
            spec.position[1],
            spec.quaternion[3],
        )
        assert len(back.points) == (0 if spec.points is None else len(spec.points))


def test_a_moved_marker_is_the_same_thing_in_the_other_frame():
    turn = rigid(np.diag([1.0, -1.0, -1.0]), np.array([0.0, 0.0, 2.0]))
    box = markers.MarkerSpec(
        "things", 0, markers.CUBE, (1.0, 2.0, 3.0), (0.0, 0.0, 0.0, 1.0), (1, 1, 1), (1, 1, 1, 1)
    )
    moved = markers.moved_marker(box, turn)
    np.testing.assert_allclose(moved.position, (1, -2, -1))
    np.testing.assert_allclose(np.abs(moved.quaternion), (1, 0, 0, 0), atol=1e-9)  # half a turn
    lines = replace(box, position=(0.0, 0.0, 0.0), points=np.array([[1.0, 2.0, 3.0]]))
    moved = markers.moved_marker(lines, turn)
    np.testing.assert_allclose(moved.points, [[1, -2, -1]])
    assert moved.position == (0.0, 0.0, 0.0)
