"""What is said of a topic on which nothing comes: always the reason, and what to do."""

import pytest

from cmdfusion_ros.labelling.diagnostics.topic_hints import hint

CLOUD, IMAGE = "sensor_msgs/msg/PointCloud2", "sensor_msgs/msg/Image"
JPEG, INFO = "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/CameraInfo"


@pytest.mark.parametrize(
    ("topic", "wanted", "published", "words"),
    [
        (
            "/cam/image_raw",
            IMAGE,
            {"/cam/image_raw/compressed": [JPEG]},
            "nobody publishes /cam/image_raw; /cam/image_raw/compressed is published: set "
            "cam.transport: compressed",
        ),
        (
            "/cam/image_raw/compressed",
            JPEG,
            {"/cam/image_raw": [IMAGE]},
            "/cam/image_raw is published: set cam.transport: raw",
        ),
        (
            "/cam/image_raw",
            IMAGE,
            {"/cam/image_raw/ffmpeg": ["ffmpeg_image_transport_msgs/msg/FFMPEGPacket"]},
            "FFMPEGPacket) is: republish it with image_transport",
        ),
        (
            "/cam/image_raw",
            IMAGE,
            {"/cam/image_raw/theora": ["theora_image_transport/msg/Packet"]},
            "theora_image_transport/msg/Packet) is: republish it",
        ),
        (
            "/points",
            CLOUD,
            {"/points/draco": ["point_cloud_interfaces/msg/CompressedPointCloud2"]},
            "republish it with point_cloud_transport",
        ),
        (
            "/points",
            CLOUD,
            {"/points": ["livox_ros_driver2/msg/CustomMsg"]},
            "/points is a livox_ros_driver2/msg/CustomMsg, not a sensor_msgs/msg/PointCloud2: set "
            "the Livox driver's xfer_format to 0",
        ),
        (
            "/points",
            CLOUD,
            {"/livox/lidar": ["livox_ros_driver2/msg/CustomMsg"]},
            "/livox/lidar is a livox_ros_driver2/msg/CustomMsg: set the Livox",
        ),
        (
            "/points",
            CLOUD,
            {"/ouster/lidar_packets": ["ouster_sensor_msgs/msg/PacketMsg"]},
            "/ouster/lidar_packets is a ouster_sensor_msgs/msg/PacketMsg: let ouster_ros",
        ),
        (
            "/points",
            CLOUD,
            {"/b": [CLOUD], "/a": [CLOUD], "/image": [IMAGE]},
            "published as PointCloud2: /a, /b; set cam.topic, or remap",
        ),
        (
            "/cam/camera_info",
            INFO,
            {"/cam/image_raw": [IMAGE], "/left/camera_info": [INFO]},
            "published as CameraInfo: /left/camera_info; set cam.topic",
        ),
        ("/points", CLOUD, {}, "is its driver running, in this ROS_DOMAIN_ID?"),
    ],
)
def test_a_silent_topic_is_explained(topic, wanted, published, words):
    assert words in hint(topic, wanted, published, "cam.topic")


def test_of_many_topics_of_the_type_three_are_named():
    published = {f"/lidar_{number}": [CLOUD] for number in range(9)}
    said = hint("/points", CLOUD, published, "points.topic")
    assert "/lidar_0, /lidar_1, /lidar_2, ...; set points.topic" in said
