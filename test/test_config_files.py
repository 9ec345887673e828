"""The files of config/: presets that the node takes, an RViz file whose QoS meets the node's, a
Fast DDS profile, and the rest parses.
"""

import json
import re
import xml.etree.ElementTree as ElementTree

import pytest
import yaml
from builders.paths import DATA, REPOSITORY
from rosbags.highlevel import AnyReader

from cmdfusion_ros.config import load_yaml
from cmdfusion_ros.labelling.settings import (
    FOREIGN,
    camera_parameters,
    node_parameters,
    node_settings,
)
from cmdfusion_ros.messages.stamps import raw_stamp_ns
from cmdfusion_ros.pairing.settings import to_ns
from cmdfusion_ros.ros.qos import INPUTS, OUTPUTS

CONFIG = REPOSITORY / "config"
PRESETS = ["autoware", "kitti_1cam", "lidar_only", "nuscenes_6cam", "pandaset_6cam"]


def parameters_of(name):
    """The content of a ROS parameter file that is meant for a node of any name."""
    return load_yaml(CONFIG / f"{name}.yaml")["/**"]["ros__parameters"]


def flat(values, prefix=""):
    for name, value in values.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def test_every_preset_is_listed_here():
    others = {"cmdfusion", "diagnostics_aggregator"}
    node_files = {path.stem for path in CONFIG.glob("*.yaml")} - others
    assert node_files == set(PRESETS)


@pytest.mark.parametrize("name", [*PRESETS, "cmdfusion"])
def test_the_node_takes_the_file_without_a_complaint(name):
    node_settings(parameters_of(name))


@pytest.mark.parametrize(
    ("name", "cameras"),
    [
        ("lidar_only", 0),
        ("kitti_1cam", 1),
        ("nuscenes_6cam", 6),
        ("pandaset_6cam", 6),
        ("autoware", 6),
    ],
)
def test_a_preset_has_the_cameras_its_name_says_and_settings_for_each(name, cameras):
    values = parameters_of(name)
    settings = node_settings(values)
    assert len(settings.cameras) == cameras
    for camera in settings.cameras:
        assert values[camera], f"{camera} has no settings of its own"


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_holds_only_what_differs_from_the_defaults(name):
    defaults = {parameter.name: parameter.default for parameter in node_parameters()}
    for parameter, value in flat(parameters_of(name)):
        if name == "lidar_only" and parameter == "cameras":
            continue  # it is there to turn the cameras of another file off
        # a property of the sensor, stated even where it is the default
        if parameter in defaults and parameter != "points.scan_period":
            assert value != defaults[parameter], f"{parameter} is the default"


def test_the_default_file_names_every_parameter_with_its_default():
    given = dict(flat(parameters_of("cmdfusion")))
    defaults = {
        p.name: list(p.default) or [""] if isinstance(p.default, tuple) else p.default
        for p in node_parameters()
    }
    assert given == defaults


def test_the_default_file_marks_what_may_change_while_the_node_runs():
    lines = (CONFIG / "cmdfusion.yaml").read_text().splitlines()
    marked = [
        line.split(":")[0].strip()
        for line in lines
        if "  # * " in line and not line.lstrip().startswith("#")
    ]
    assert marked == [
        parameter.name.split(".")[-1] for parameter in node_parameters() if parameter.live
    ]


def test_the_default_file_ends_with_what_a_camera_has():
    """A comment, as there is no camera by default: every parameter with its default, and a star
    at those that may change while the node runs.
    """
    lines = (CONFIG / "cmdfusion.yaml").read_text().splitlines()
    group = [line.strip().removeprefix("#   ") for line in lines[lines.index("    # front:") + 1 :]]
    declared = {
        parameter.name.removeprefix("front."): parameter for parameter in camera_parameters("front")
    }
    assert yaml.safe_load("\n".join(group)) == {
        name: parameter.default for name, parameter in declared.items()
    }
    assert {line.split(":")[0] for line in group if " # * " in line} == {
        name for name, parameter in declared.items() if parameter.live
    }


@pytest.mark.parametrize("name", [*PRESETS, "cmdfusion"])
def test_ros_reads_the_file_as_we_do(name):
    pytest.importorskip("rclpy", reason="ROS 2 is not installed")
    from rclpy.context import Context
    from rclpy.node import Node

    context = Context()
    context.init(args=["--ros-args", "--params-file", str(CONFIG / f"{name}.yaml")])
    node = Node("reader", context=context, automatically_declare_parameters_from_overrides=True)
    try:
        read = {
            key: parameter.value
            for key, parameter in node.get_parameters_by_prefix("").items()
            if key not in FOREIGN
        }
    finally:
        node.destroy_node()
        context.try_shutdown()
    assert read == dict(flat(parameters_of(name)))


def offset_errors(settings, cloud_stamp, image_stamps):
    """Nanoseconds from where the preset looks for each camera's image to where it is."""
    target = cloud_stamp + settings.pairing().target_shift_ns
    return {
        camera: image_stamps[camera] - target - to_ns(settings.camera_settings[camera].time_offset)
        for camera in settings.cameras
    }


def test_the_offsets_of_the_nuscenes_preset_fit_a_real_frame():
    path = DATA / "nuscenes_frame" / "calibration.json"
    if not path.exists():
        pytest.skip(f"{path} is not there; set CMDFUSION_DATA")
    frame = json.loads(path.read_text())
    stamps = {camera: 1000 * frame["cameras"][camera]["stamp_us"] for camera in frame["cameras"]}
    errors = offset_errors(
        node_settings(parameters_of("nuscenes_6cam")), 1000 * frame["lidar"]["stamp_us"], stamps
    )
    assert max(map(abs, errors.values())) < 0.2e6


def test_the_offsets_of_the_pandaset_preset_find_each_image_of_a_real_bag():
    path = DATA / "bags" / "pandaset_002"
    if not path.exists():
        pytest.skip(f"{path} is not there; set CMDFUSION_DATA")
    settings = node_settings(parameters_of("pandaset_6cam"))
    topics = {
        f"{settings.camera_settings[camera].image_topic.lstrip('/')}/compressed": camera
        for camera in settings.cameras
    }
    stamps = {settings.points.topic: [], **{camera: [] for camera in settings.cameras}}
    with AnyReader([path]) as reader:
        assert {name.lstrip("/") for name in reader.topics} >= {
            *topics,
            settings.points.topic.lstrip("/"),
        }
        for connection, _, raw in reader.messages():
            name = topics.get(connection.topic.lstrip("/"), connection.topic)
            if name in stamps:
                stamps[name].append(raw_stamp_ns(raw))
    clouds = stamps.pop(settings.points.topic)
    assert len(clouds) == 20
    for index, cloud in enumerate(clouds):
        errors = offset_errors(
            settings, cloud, {camera: times[index] for camera, times in stamps.items()}
        )
        assert max(map(abs, errors.values())) < 0.5e6, (index, errors)


def rviz_topics():
    displays = yaml.safe_load((CONFIG / "cmdfusion.rviz").read_text())["Visualization Manager"][
        "Displays"
    ]
    return [(display["Name"], display["Topic"]) for display in displays if "Topic" in display]


@pytest.mark.parametrize(("name", "topic"), rviz_topics(), ids=[name for name, _ in rviz_topics()])
def test_rviz_asks_for_no_more_than_the_publisher_offers(name, topic):
    """A subscriber that asks for reliable or transient local delivery hears nothing from a
    publisher that offers less.
    """
    value = topic["Value"]
    if value == "/lidar/points":  # a sensor offers best effort
        assert topic["Reliability Policy"] == "Best Effort"
        return
    ours = "~/" + value.removeprefix("/cmdfusion/").split("/")[0]
    offered = OUTPUTS[ours]
    if topic["Reliability Policy"] == "Reliable":
        assert offered.reliability == "reliable"
    if topic["Durability Policy"] == "Transient Local":
        assert offered.durability == "transient_local"
    assert topic["Depth"] == offered.depth


def test_rviz_shows_labels_and_boxes_at_once_and_the_rest_on_demand():
    displays = yaml.safe_load((CONFIG / "cmdfusion.rviz").read_text())["Visualization Manager"][
        "Displays"
    ]
    on = {display["Name"] for display in displays if display["Enabled"]}
    assert on == {"Grid", "labels", "boxes, legend, cameras"}
    assert all(display["Enabled"] == display["Value"] for display in displays)
    labels = next(display for display in displays if display["Name"] == "labels")
    assert labels["Color Transformer"] == "RGB8"


def test_the_inputs_hear_every_publisher():
    assert {INPUTS[name].reliability for name in ("points", "image", "camera_info")} == {
        "best_effort"
    }


def test_the_foxglove_layout_shows_our_topics():
    layout = json.loads((CONFIG / "foxglove_layout.json").read_text())
    panels = layout["configById"]

    def names(tree):
        return [tree] if isinstance(tree, str) else names(tree["first"]) + names(tree["second"])

    assert sorted(names(layout["layout"])) == sorted(panels)
    for topic in panels["3D!cmdfusion"]["topics"]:
        assert "~/" + topic.removeprefix("/cmdfusion/") in OUTPUTS
    fields = {
        path["value"].split(".")[-1] for panel in panels.values() for path in panel.get("paths", [])
    }
    status = (CONFIG.parent / "msg" / "SegmentationStatus.msg").read_text()
    assert fields and all(f" {field} " in status or f" {field}\n" in status for field in fields)


def test_the_aggregator_sorts_every_diagnostic_of_the_node():
    groups = load_yaml(CONFIG / "diagnostics_aggregator.yaml")["/**"]["ros__parameters"][
        "cmdfusion"
    ]["analyzers"].values()
    diagnostics = CONFIG.parent / "cmdfusion_ros" / "labelling" / "diagnostics"
    source = "".join(path.read_text() for path in diagnostics.glob("*.py"))
    parts = {re.sub(r"{.*}", "front", name) for name in re.findall(r'Part\(f?"([^"]+)"', source)}
    assert parts == {"pipeline", "lidar", "placement", "sync", "model", "camera/front"}
    for part in parts:
        name = f"cmdfusion: {part}"
        takers = [
            group["path"]
            for group in groups
            if name in group.get("contains", [])
            or any(map(name.startswith, group.get("startswith", [])))
        ]
        assert len(takers) == 1, f"{name}: {takers}"


def test_fast_dds_gets_large_shared_memory_and_keeps_the_network():
    root = ElementTree.parse(CONFIG / "fastdds_large_clouds.xml").getroot()
    space = {"": root.tag[1:].split("}")[0]}
    transports = {
        item.find("transport_id", space).text: item
        for item in root.iterfind(".//transport_descriptor", space)
    }
    participant = root.find(".//participant", space)
    assert participant.get("is_default_profile") == "true"
    used = [item.text for item in participant.iterfind(".//userTransports/transport_id", space)]
    assert set(used) == set(transports)
    kinds = {item.find("type", space).text: item for item in transports.values()}
    assert set(kinds) == {"SHM", "UDPv4"}
    assert int(kinds["SHM"].find("segment_size", space).text) == 64 * 1024 * 1024
