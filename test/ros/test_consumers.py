"""What others make of the labels: ~/scan, the example of docs/consumers.md, and the files of
config/consumers. Skips where rclpy is not installed.
"""

import array
import re
import time
import xml.etree.ElementTree as ElementTree
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from builders.paths import REPOSITORY

pytest.importorskip(
    "rclpy",
    reason="rclpy is not installed: the node's own tests need ROS 2 (apt, or pip wheels)",
)

from rclpy.parameter import Parameter  # noqa: E402

from cmdfusion_ros.labelling.settings import node_parameters  # noqa: E402
from cmdfusion_ros.ros.interfaces import load_interfaces  # noqa: E402
from cmdfusion_ros.ros.qos import OUTPUTS  # noqa: E402

INTERFACES = load_interfaces()
PAGE = (REPOSITORY / "docs" / "consumers.md").read_text()
FOLDER = REPOSITORY / "config" / "consumers"
FILES = sorted(FOLDER.glob("*.yaml"))


def test_a_scan_has_the_nearest_point_of_each_direction(bench, wire):
    it = bench(
        {
            "scan.frame": "lidar",
            "scan.min_height": -100.0,
            "scan.max_height": 100.0,
            "scan.angle_increment": 1.0,
            "points.max_range": 10.0,  # what is farther has no label, and counts
        }
    )
    heard = it.listen(INTERFACES.LaserScan, "/cmdfusion/scan")
    clouds = it.speak(INTERFACES.PointCloud2, "/points")
    cloud = wire.cloud(time.time_ns())
    clouds.publish(cloud)
    it.until(lambda: heard, "a scan")
    scan = heard[0]
    assert scan.header == cloud.header and len(scan.ranges) == 360
    assert scan.angle_min == pytest.approx(-np.pi)
    assert scan.angle_max == pytest.approx(np.pi - scan.angle_increment)
    assert (scan.range_min, scan.range_max) == (0.5, 50.0)
    x, y = np.frombuffer(cloud.data, np.float32).reshape(-1, 4)[:, :2].T
    ray = np.rint((np.arctan2(y, x) + np.pi) / scan.angle_increment).astype(int) % 360
    distance = np.hypot(x, y)
    expected = [
        min((d for d, r in zip(distance, ray, strict=True) if r == n and 0.5 <= d), default=np.inf)
        for n in range(360)
    ]
    np.testing.assert_allclose(scan.ranges, expected, rtol=1e-5)
    it.node.set_parameters([Parameter("scan.min_height", value=99.0)])
    clouds.publish(wire.cloud(time.time_ns()))
    it.until(lambda: len(heard) == 2, "another")
    assert np.isinf(heard[1].ranges).all()


def test_a_scan_in_a_frame_that_nobody_knows_is_named_and_costs_no_cloud(bench, wire):
    it = bench({"scan.frame": "nowhere", "output.always_publish": True})
    heard = it.listen(INTERFACES.LaserScan, "/cmdfusion/scan")
    it.until(lambda: it.node.count_subscribers("/cmdfusion/scan"), "its listener")
    clouds = it.speak(INTERFACES.PointCloud2, "/points")
    clouds.publish(wire.cloud(time.time_ns()))
    it.until(lambda: "nowhere" in it.parts()["pipeline"]["last_error"], "the complaint")
    assert "~/scan" in it.parts()["pipeline"]["last_error"]
    it.until(lambda: it.parts()["pipeline"]["labelled"] == 1, "the label")
    assert not heard


def test_the_example_of_the_page_gets_obstacles_from_the_node(bench, wire):
    (example,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    names = {"__name__": "example"}
    exec(compile(example, "consumers.md", "exec"), names)
    it = bench({"output.layout": "full"})
    consumer = names["Obstacles"]()
    it.executor.add_node(consumer)
    try:
        it.until(lambda: consumer.names, "the class map")
        assert consumer.names[12] == "person" and consumer.obstacles is None
        clouds = it.speak(INTERFACES.PointCloud2, "/points")
        heard = it.listen(INTERFACES.PointCloud2, "/cmdfusion/points_labeled")
        it.until(lambda: it.node.count_subscribers("/cmdfusion/points_labeled") == 2, "listeners")
        sent = wire.cloud(time.time_ns())
        clouds.publish(sent)
        it.until(lambda: heard and consumer.obstacles is not None, "a cloud")
        # the fake calls every point road, of which it is not sure at all
        points = np.frombuffer(sent.data, np.float32).reshape(-1, 4)[:, :3]
        np.testing.assert_array_equal(consumer.obstacles, points)
        columns = np.frombuffer(heard[0].data, np.float32).reshape(-1, 8).copy()
        columns[:40, 6] = 0.9  # confidence
        heard[0].data = array.array("B", columns.tobytes())
        consumer.on_cloud(heard[0])
        np.testing.assert_array_equal(consumer.obstacles, points[40:])
        said = []
        consumer.get_logger = lambda: SimpleNamespace(error=said.append)
        of_own = [SimpleNamespace(class_id=1, name="drivable")]
        consumer.on_classes(SimpleNamespace(classes=of_own))
        assert said == ["none of the classes drivable is in GROUND: all is obstacle"]
    finally:
        consumer.destroy_node()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_for_others_listens_to_topics_that_the_node_has(path):
    text = path.read_text()
    named = {f"~/{name}" for name in re.findall(r"/cmdfusion/(\w+)", text)}
    assert named and named <= set(OUTPUTS)
    parameters = {each.name for each in node_parameters()}
    assert set(re.findall(r"\b(?:filter|scan)\.\w+", text)) <= parameters
    (node,) = yaml.safe_load(text).values()
    assert "ros__parameters" in node or "ros__parameters" in next(iter(node.values()))
    assert path.name in PAGE


def test_autoware_s_nodes_listen_to_a_topic_that_the_node_has():
    path = FOLDER / "autoware_obstacles.launch.xml"
    root = ElementTree.parse(path).getroot()
    given = {
        argument.get("name"): argument.get("value")
        for include in root.iter("include")
        for argument in include.iter("arg")
    }
    ours = {value for value in given.values() if value.startswith("/cmdfusion/")}
    assert {value.replace("/cmdfusion/", "~/") for value in ours} <= set(OUTPUTS)
    assert ours == {given["input_pointcloud"], given["input/obstacle_pointcloud"]}
    assert given["input/raw_pointcloud"] == "$(var raw)" and path.name in PAGE


# as nav2's pages on the obstacle and the voxel layer list them
OF_A_SOURCE = set(
    "topic sensor_frame observation_persistence expected_update_rate data_type min_obstacle_height "
    "max_obstacle_height inf_is_valid marking clearing obstacle_max_range obstacle_min_range "
    "raytrace_max_range raytrace_min_range".split()
)
OF_A_LAYER = set(
    "plugin enabled footprint_clearing_enabled min_obstacle_height max_obstacle_height "
    "combination_method observation_sources".split()
)
OF_VOXELS = set(
    "z_voxels origin_z z_resolution unknown_threshold mark_threshold publish_voxel_map".split()
)
LAYERS = {
    "nav2_costmap_2d::ObstacleLayer": OF_A_LAYER,
    "nav2_costmap_2d::VoxelLayer": OF_A_LAYER | OF_VOXELS,
}


@pytest.mark.parametrize("name", ["nav2_clouds", "nav2_scan"])
def test_a_costmap_has_only_keys_that_nav2_documents_and_cuts_no_source_off(name):
    (costmap,) = yaml.safe_load((FOLDER / f"{name}.yaml").read_text()).values()
    layer = next(
        each
        for each in next(iter(costmap.values()))["ros__parameters"].values()
        if "observation_sources" in each
    )
    sources = layer["observation_sources"].split()
    assert set(layer) - set(sources) <= LAYERS[layer["plugin"]]
    for source in sources:
        assert set(layer[source]) <= OF_A_SOURCE
        # the default of the latter is 0.0: nothing over the ground would pass
        assert layer[source]["min_obstacle_height"] < layer[source]["max_obstacle_height"]


def sources_of(path):
    """{layer: {source: settings}} of a costmap."""
    (costmap,) = yaml.safe_load(path.read_text()).values()
    parameters = next(iter(costmap.values()))["ros__parameters"]
    return {
        name: {source: layer[source] for source in layer["observation_sources"].split()}
        for name, layer in ((name, parameters[name]) for name in parameters["plugins"])
        if "observation_sources" in layer
    }


def test_a_costmap_marks_from_labels_and_clears_from_the_whole_cloud():
    (sources,) = sources_of(FOLDER / "nav2_clouds.yaml").values()
    marking = {name: each for name, each in sources.items() if each["marking"]}
    clearing = {name: each for name, each in sources.items() if each["clearing"]}
    assert [each["topic"] for each in marking.values()] == ["/cmdfusion/points_filtered"]
    assert [each["topic"] for each in clearing.values()] == ["/lidar/points"]
    assert {each["data_type"] for each in sources.values()} == {"PointCloud2"}
    (sources,) = sources_of(FOLDER / "nav2_scan.yaml").values()
    (scan,) = sources.values()
    assert scan["data_type"] == "LaserScan" and scan["inf_is_valid"]
