"""The quality of service of every topic of the node, in one table.

Inputs take what sensors offer (best effort matches every publisher); outputs are reliable, which matches every subscriber; what a late
joiner must still get is transient local (REP-2003).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Qos:
    """Reliability, durability and depth (keep last) of a topic, in the words of ROS."""

    reliability: str
    durability: str
    depth: int


SENSOR = Qos("best_effort", "volatile", 5)
INPUTS = {
    "points": SENSOR,
    "image": SENSOR,
    "camera_info": Qos("best_effort", "volatile", 1),
    "camera_info_latched": Qos("reliable", "transient_local", 1),
    "/tf": Qos("reliable", "volatile", 100),
    "/tf_static": Qos("reliable", "transient_local", 100),
}
OUTPUTS = {
    "~/points_labeled": Qos("reliable", "volatile", 1),
    "~/points_filtered": Qos("reliable", "volatile", 1),
    "~/markers": Qos("reliable", "volatile", 1),
    "~/label_info": Qos("reliable", "transient_local", 1),
    "~/class_map": Qos("reliable", "transient_local", 1),
    "~/status": Qos("reliable", "volatile", 10),
    "~/overlay": Qos("best_effort", "volatile", 1),  # of each camera: ~/overlay/<camera>
    "/diagnostics": Qos("reliable", "volatile", 1),
}


def qos_profile(qos):
    """The rclpy QoSProfile of a `Qos`."""
    from rclpy.qos import QoSDurabilityPolicy, QoSHistoryPolicy, QoSProfile, QoSReliabilityPolicy

    return QoSProfile(
        history=QoSHistoryPolicy.KEEP_LAST,
        depth=qos.depth,
        reliability=QoSReliabilityPolicy[qos.reliability.upper()],
        durability=QoSDurabilityPolicy[qos.durability.upper()],
    )


def overridable():
    """The rclpy options that let a user set `qos_overrides.<topic>.<policy>`."""
    from rclpy.qos_overriding_options import QoSOverridingOptions

    return QoSOverridingOptions.with_default_policies()
