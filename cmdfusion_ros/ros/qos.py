"""The quality of service of every topic of the node, in one table.

Inputs take what sensors offer (best effort matches every publisher); outputs are reliable, which
matches every subscriber; what a late joiner must still get is transient local (REP-2003).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Qos:
    """Reliability, durability and depth (keep last) of a topic, in the words of ROS."""

    reliability: str
    durability: str
    depth: int


SENSOR = Qos("best_effort", "volatile", 5)
INPUTS = {
    "points": SENSOR,
    # sync.overload queue: what comes during a transition of some seconds waits here
    "points_queue": Qos("reliable", "volatile", 1000),
    "points_queue_best_effort": Qos("best_effort", "volatile", 1000),
    "image": SENSOR,
    "camera_info": Qos("best_effort", "volatile", 1),
    "camera_info_latched": Qos("reliable", "transient_local", 1),
    "/tf": Qos("reliable", "volatile", 100),
    "/tf_static": Qos("reliable", "transient_local", 100),
}
# made where a reliable one could not be matched, which its parameter would make it again
_FIXED_RELIABILITY = {"points_queue_best_effort"}
OUTPUTS = {
    "~/points_labeled": Qos("reliable", "volatile", 1),
    "~/points_filtered": Qos("reliable", "volatile", 1),
    "~/scan": Qos("reliable", "volatile", 1),
    "~/markers": Qos("reliable", "volatile", 1),
    "~/label_info": Qos("reliable", "transient_local", 1),
    "~/class_map": Qos("reliable", "transient_local", 1),
    "~/status": Qos("reliable", "volatile", 10),
    "~/overlay": Qos("best_effort", "volatile", 1),  # of each camera: ~/overlay/<camera>
    "~/heartbeat": Qos("reliable", "volatile", 1),
    "/diagnostics": Qos("reliable", "volatile", 1),
}


def qos_profile(qos: Qos) -> Any:
    """The rclpy QoSProfile of a `Qos`."""
    from rclpy.qos import QoSDurabilityPolicy, QoSHistoryPolicy, QoSProfile, QoSReliabilityPolicy

    return QoSProfile(
        history=QoSHistoryPolicy.KEEP_LAST,
        depth=qos.depth,
        reliability=QoSReliabilityPolicy[qos.reliability.upper()],
        durability=QoSDurabilityPolicy[qos.durability.upper()],
    )


def subscribe(
    node: Any,
    message: type,
    topic: str,
    callback: Callable[..., Any],
    quality: str,
    raw: bool = False,
    on_lost: Callable[[Any], None] | None = None,
) -> Any:
    """A subscription with the quality `quality` of INPUTS and `qos_overrides` parameters.

    Without the default event callbacks: rclpy makes two waitables of them for every subscription
    and publisher, and looks at each one at every wake-up, which doubled the cost of taking a
    message. `publishers_of` asks instead. `on_lost` is called with the message-lost status of the
    middleware, where there is one.
    """
    try:
        from rclpy.event_handler import SubscriptionEventCallbacks
    except ImportError:
        from rclpy.qos_event import SubscriptionEventCallbacks  # Humble
    return node.create_subscription(
        message,
        topic,
        callback,
        qos_profile(INPUTS[quality]),
        raw=raw,
        qos_overriding_options=overridable(is_fixed=quality in _FIXED_RELIABILITY),
        event_callbacks=SubscriptionEventCallbacks(
            message_lost=on_lost, use_default_callbacks=False
        ),
    )


def advertise(node: Any, message: type, topic: str, quality: str = "") -> Any:
    """A publisher with the quality of OUTPUTS (of `topic` itself unless `quality` names another
    row), without event callbacks as above.
    """
    try:
        from rclpy.event_handler import PublisherEventCallbacks
    except ImportError:
        from rclpy.qos_event import PublisherEventCallbacks  # Humble
    return node.create_publisher(
        message,
        topic,
        qos_profile(OUTPUTS[quality or topic]),
        qos_overriding_options=overridable(),
        event_callbacks=PublisherEventCallbacks(use_default_callbacks=False),
    )


def publishers_of(node: Any, subscription: Any) -> tuple[int, str]:
    """(number of publishers on the topic of `subscription`, why some of them cannot be received
    and what helps, or "").
    """
    from rclpy.qos import QoSCompatibility, QoSDurabilityPolicy, qos_check_compatible

    found = [
        publisher
        for publisher in node.get_publishers_info_by_topic(subscription.topic_name)
        if publisher.topic_type == type_of(subscription)
    ]
    problems, remedy = (
        [],
        f"; set qos_overrides.{subscription.topic_name}.subscription.reliability: best_effort",
    )
    for publisher in found:
        verdict, reason = qos_check_compatible(publisher.qos_profile, subscription.qos_profile)
        if verdict == QoSCompatibility.ERROR:
            problems.append(f"{publisher.node_name} offers less than we ask for: {_plain(reason)}")
            if (
                subscription.qos_profile.durability
                == QoSDurabilityPolicy.TRANSIENT_LOCAL
                != publisher.qos_profile.durability
            ):
                # overrides know no durability; this one makes it best effort too
                remedy = "; set <camera>.camera_info_durability: volatile"
                if subscription.topic_name.endswith("tf_static"):
                    remedy = (
                        "; publish it with durability transient_local, as static transforms are "
                        "(ros2 bag play: --qos-profile-overrides-path)"
                    )
    return len(found), "; ".join(problems) + (remedy if problems else "")


def subscribers_of(node: Any, publisher: Any) -> str:
    """Why somebody cannot hear `publisher`, "" where all can."""
    from rclpy.qos import QoSCompatibility, qos_check_compatible

    problems = []
    ours = _as_the_graph_says(publisher.qos_profile)
    for subscriber in node.get_subscriptions_info_by_topic(publisher.topic_name):
        verdict, reason = qos_check_compatible(ours, subscriber.qos_profile)
        if verdict == QoSCompatibility.ERROR:
            problems.append(f"{subscriber.node_name} asks for more than we offer: {_plain(reason)}")
    return "; ".join(problems)


def _as_the_graph_says(profile: Any) -> Any:
    """`profile` with "no deadline" and "no lease" written as the graph writes them. rclpy keeps
    what it was given, 0 for "the default"; the graph tells what holds, infinite; comparing the two
    calls every listener one that asks for a deadline.
    """
    from rclpy.duration import Infinite
    from rclpy.qos import QoSProfile

    return QoSProfile(
        history=profile.history,
        depth=profile.depth,
        reliability=profile.reliability,
        durability=profile.durability,
        deadline=profile.deadline if profile.deadline.nanoseconds else Infinite,
        liveliness=profile.liveliness,
        liveliness_lease_duration=(
            profile.liveliness_lease_duration
            if profile.liveliness_lease_duration.nanoseconds
            else Infinite
        ),
    )


def _plain(reason: str) -> str:
    """rclpy's sentence without its ends."""
    return reason.removeprefix("ERROR: ").rstrip("; ")


def type_of(subscription: Any) -> str:
    """The type of what a subscription takes, as "package/msg/Name"."""
    package, kind = subscription.msg_type.__module__.split(".")[:2]
    return f"{package}/{kind}/{subscription.msg_type.__name__}"


def reliabilities(node: Any, topic: str) -> set[str]:
    """How the publishers of `topic` (as it resolves) send: "reliable", or "best_effort", which no
    reliable subscription receives.
    """
    return {
        publisher.qos_profile.reliability.name.lower()
        for publisher in node.get_publishers_info_by_topic(topic)
    }


def overridable(is_fixed: bool = False) -> Any:
    """The rclpy options that let a user set `qos_overrides.<topic>.<policy>`: history, depth and
    reliability; not the last where it `is_fixed`.
    """
    from rclpy.qos import QoSPolicyKind
    from rclpy.qos_overriding_options import QoSOverridingOptions

    if is_fixed:
        return QoSOverridingOptions([QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH])
    return QoSOverridingOptions.with_default_policies()
