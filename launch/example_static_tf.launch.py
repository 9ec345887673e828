"""Publish the extrinsics of a made-up robot: a LiDAR on the roof and a camera `front` before it.
Copy it and put in what you measured.

x forward, y left, z up, in metres and radians. A camera's transform is that of its *optical* frame
(x right, y down, z forward): roll and yaw of -pi/2 turn a forward-looking frame into it. The wrong
one of the two frames is the most common mistake with extrinsics.
"""

from launch import LaunchDescription
from launch_ros.actions import Node

TRANSFORMS = [  # parent, child, x, y, z, roll, pitch, yaw
    ("base_link", "lidar", 0.0, 0.0, 1.8, 0.0, 0.0, 0.0),
    ("lidar", "front_optical", 0.3, 0.0, -0.2, -1.570796, 0.0, -1.570796),
]


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription([static_transform(*row) for row in TRANSFORMS])


def static_transform(parent: str, child: str, *pose: float) -> Node:
    """A publisher of one transform on /tf_static."""
    options = ("--x", "--y", "--z", "--roll", "--pitch", "--yaw")
    arguments = [
        text for option, value in zip(options, pose, strict=True) for text in (option, str(value))
    ]
    return Node(
        package="tf2_ros",
        executable="static_transform_publisher",
        name=f"{child}_from_{parent}",
        arguments=[*arguments, "--frame-id", parent, "--child-frame-id", child],
    )
