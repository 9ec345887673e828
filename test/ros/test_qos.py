"""What is said of publishers that a subscription cannot receive, with the words that rclpy
knows.
"""

from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy")

from sensor_msgs.msg import CameraInfo  # noqa: E402

from cmdfusion_ros.ros.qos import (  # noqa: E402
    INPUTS,
    OUTPUTS,
    Qos,
    publishers_of,
    qos_profile,
    subscribers_of,
    type_of,
)


@pytest.mark.parametrize(
    ("ours", "theirs", "remedy"),
    [
        (
            INPUTS["camera_info_latched"],
            Qos("reliable", "volatile", 1),
            "set <camera>.camera_info_durability: volatile",
        ),
        (
            INPUTS["camera_info_latched"],
            Qos("best_effort", "volatile", 1),
            "set <camera>.camera_info_durability: volatile",
        ),
        (
            INPUTS["camera_info_latched"],
            Qos("best_effort", "transient_local", 1),
            "set qos_overrides./info.subscription.reliability: best_effort",
        ),
        (
            Qos("reliable", "volatile", 5),
            Qos("best_effort", "volatile", 5),
            "set qos_overrides./info.subscription.reliability: best_effort",
        ),
        (INPUTS["camera_info"], Qos("best_effort", "volatile", 5), ""),
    ],
)
def test_the_remedy_is_one_that_there_is(ours, theirs, remedy):
    """Overrides know history, depth and reliability, no durability."""
    publisher = SimpleNamespace(
        node_name="driver", qos_profile=qos_profile(theirs), topic_type="sensor_msgs/msg/CameraInfo"
    )
    node = SimpleNamespace(get_publishers_info_by_topic=lambda topic: [publisher])
    number, problem = publishers_of(
        node,
        SimpleNamespace(topic_name="/info", qos_profile=qos_profile(ours), msg_type=CameraInfo),
    )
    assert (
        number == 1
        and problem.startswith("driver offers less" if remedy else "")
        and problem.endswith(remedy)
        and bool(problem) == bool(remedy)
    )


def test_static_transforms_that_are_not_latched_are_told_with_what_helps():
    publisher = SimpleNamespace(
        node_name="relay",
        qos_profile=qos_profile(Qos("reliable", "volatile", 1)),
        topic_type="sensor_msgs/msg/CameraInfo",
    )
    node = SimpleNamespace(get_publishers_info_by_topic=lambda topic: [publisher])
    ours = SimpleNamespace(
        topic_name="/tf_static", qos_profile=qos_profile(INPUTS["/tf_static"]), msg_type=CameraInfo
    )
    _, problem = publishers_of(node, ours)
    assert problem.startswith("relay offers less") and "transient_local" in problem


def test_a_publisher_of_another_type_is_none():
    publisher = SimpleNamespace(
        node_name="driver",
        qos_profile=qos_profile(INPUTS["points"]),
        topic_type="livox_ros_driver2/msg/CustomMsg",
    )
    node = SimpleNamespace(get_publishers_info_by_topic=lambda topic: [publisher])
    ours = SimpleNamespace(
        topic_name="/points", qos_profile=qos_profile(INPUTS["points"]), msg_type=CameraInfo
    )
    assert type_of(ours) == "sensor_msgs/msg/CameraInfo"
    assert publishers_of(node, ours) == (0, "")


def test_a_subscriber_that_asks_for_more_than_we_offer_is_named():
    def asking(reliability, durability):
        subscriber = SimpleNamespace(
            node_name="rviz", qos_profile=qos_profile(Qos(reliability, durability, 1))
        )
        node = SimpleNamespace(get_subscriptions_info_by_topic=lambda topic: [subscriber])
        ours = qos_profile(OUTPUTS["~/points_labeled"])
        return subscribers_of(node, SimpleNamespace(topic_name="/labels", qos_profile=ours))

    assert asking("best_effort", "volatile") == asking("reliable", "volatile") == ""
    assert asking("reliable", "transient_local").startswith("rviz asks for more than we offer")
