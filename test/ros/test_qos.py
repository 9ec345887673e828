"""What is said of publishers that a subscription cannot receive, with the words that rclpy
knows.
"""

from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy")

from cmdfusion_ros.ros.qos import INPUTS, Qos, publishers_of, qos_profile  # noqa: E402


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
    publisher = SimpleNamespace(node_name="driver", qos_profile=qos_profile(theirs))
    node = SimpleNamespace(get_publishers_info_by_topic=lambda topic: [publisher])
    number, problem = publishers_of(
        node, SimpleNamespace(topic_name="/info", qos_profile=qos_profile(ours))
    )
    assert (
        number == 1
        and problem.startswith("driver offers less" if remedy else "")
        and problem.endswith(remedy)
        and bool(problem) == bool(remedy)
    )
