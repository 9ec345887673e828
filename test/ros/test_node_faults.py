"""The node in this process, over real rclpy, and what goes wrong: broken clouds and images, clocks
that jump or stand still. Skips where rclpy is not installed.
"""

import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip(
    "rclpy",
    reason="rclpy is not installed: the node's own tests need ROS 2 (apt, or pip wheels)",
)

from cmdfusion_ros.ros.interfaces import load_interfaces  # noqa: E402

INTERFACES = load_interfaces()
COUNTS = st.sampled_from([0, 1, 4, 7, 16, 100, 2**31, 2**32 - 1])


def malformed_clouds(wire, stamp):
    """(what is wrong, PointCloud2) for every way in which a driver gets it wrong."""
    cut, no_x, step, row, absurd, beyond = (wire.cloud(stamp) for _ in range(6))
    cut.data = cut.data[:100]
    no_x.fields = no_x.fields[1:]
    step.point_step = 4
    row.row_step = 7
    absurd.width, absurd.row_step = 2**31, 2**32 - 1
    beyond.fields[2].offset = 2**32 - 1
    return {
        "cut": cut,
        "no x": no_x,
        "point_step": step,
        "row_step": row,
        "absurd size": absurd,
        "offset": beyond,
    }


def test_malformed_clouds_are_counted_and_the_node_goes_on(bench, wire):
    it = bench({"output.always_publish": True})
    clouds = it.speak(INTERFACES.PointCloud2, "/points")
    start = time.time_ns()
    for index, (what, message) in enumerate(malformed_clouds(wire, start).items(), start=1):
        message.header.stamp = wire.stamp(start + index * 10**8)
        clouds.publish(message)
        it.until(
            lambda count=index: it.parts()["pipeline"].get("dropped.malformed") == count,
            f"counting: {what}",
        )
    clouds.publish(wire.cloud(start + 10**9))
    it.until(lambda: it.parts()["pipeline"]["labelled"] == 1, "a good cloud")
    part = it.parts()["pipeline"]
    assert (
        part["received"] == part["labelled"] + part["dropped"] == 7
        and "cloud" in part["last_error"]
    )


def test_whatever_comes_the_node_stays_up_and_every_cloud_is_accounted_for(bench, wire, one_camera):
    """Random values in every number of a cloud and an image; 60 of each."""
    it = bench(one_camera)
    clouds = it.speak(INTERFACES.PointCloud2, "/points")
    images = it.speak(INTERFACES.CompressedImage, "/front/image_raw/compressed")
    start, sent = time.time_ns(), []

    @settings(
        max_examples=60,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(
        st.fixed_dictionaries(
            {}, optional={name: COUNTS for name in ("height", "width", "point_step", "row_step")}
        ),
        st.lists(
            st.tuples(
                st.sampled_from(["x", "y", "z", "intensity", ""]),
                COUNTS,
                st.integers(0, 255),
                COUNTS,
            ),
            max_size=6,
        )
        | st.none(),
        st.binary(max_size=400) | st.none(),
        st.booleans(),
        st.binary(max_size=100),
        st.text(max_size=5),
    )
    def send(changes, fields, data, is_bigendian, image_data, text):
        stamp = start + len(sent) * 10**8
        image, cloud = wire.jpeg(stamp), wire.cloud(stamp)
        image.data, image.format = image_data, "jpeg"
        for name, value in changes.items():
            setattr(cloud, name, value)
        if fields is not None:
            cloud.fields = [
                INTERFACES.PointField(name=n, offset=offset, datatype=kind, count=count)
                for n, offset, kind, count in fields
            ]
        if data is not None:
            cloud.data = data
        cloud.is_bigendian, cloud.header.frame_id = (
            is_bigendian,
            text.replace("\x00", "").encode("utf-8", "replace").decode(),
        )
        sent.append(cloud)
        images.publish(image)
        clouds.publish(cloud)
        it.until(
            lambda: (
                sum(it.parts()["pipeline"][key] for key in ("labelled", "dropped")) == len(sent)
            ),
            "the account of a cloud",
        )

    send()
    clouds.publish(wire.cloud(start + len(sent) * 10**8))
    before = it.parts()["pipeline"]["labelled"]
    it.until(lambda: it.parts()["pipeline"]["labelled"] == before + 1, "a good cloud")
    assert (
        it.parts()["pipeline"]["dropped.malformed"] > 20
        and it.parts()["camera/front"]["decode_errors"] > 0
    )


def test_a_bag_that_begins_again_is_a_new_time_line(bench, wire):
    it = bench({"output.always_publish": True})
    markers = it.listen(INTERFACES.MarkerArray, "/cmdfusion/markers")
    clouds = it.speak(INTERFACES.PointCloud2, "/points")
    start = time.time_ns()
    for stamp in (start, start + 10**8, start - 5 * 10**9, start - 5 * 10**9 + 10**8):
        before = it.parts()["pipeline"]["labelled"]
        clouds.publish(wire.cloud(stamp))
        it.until(
            lambda count=before + 1: it.parts()["pipeline"]["labelled"] == count, "a labelled cloud"
        )
    assert it.parts()["lidar"]["time_jumps"] == 1 and it.parts()["sync"]["epoch"] == 1
    it.until(
        lambda: any(marker.action == 3 for message in markers for marker in message.markers),
        "emptying the view",
    )


def test_sim_time_without_a_clock_holds_no_cloud_for_ever_and_is_said(bench, wire, one_camera):
    it = bench({**one_camera, "use_sim_time": True})
    clouds = it.speak(INTERFACES.PointCloud2, "/points")
    clouds.publish(wire.cloud(time.time_ns()))
    it.until(lambda: it.parts()["pipeline"]["labelled"] == 1, "a labelled cloud")
    assert (
        "use_sim_time" in it.parts()["sync"]["message"]
        and it.parts()["sync"]["reason.clock_stalled"] == 1
    )
