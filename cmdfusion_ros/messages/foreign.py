"""Types of messages in which clouds or pictures come that nobody here reads, and what helps."""

# {part of the type: what helps}
FOREIGN = {
    "livox": "set the Livox driver's xfer_format to 0 (PointCloud2), or convert the bag",
    "velodyne_msgs": "let velodyne_pointcloud make clouds of it (of a bag: play it, and record)",
    "PacketMsg": "let ouster_ros, or the sensor's driver, make clouds of it (of a bag: play it, "
    "and record)",
    "CompressedPointCloud2": "republish it with point_cloud_transport",
    "FFMPEGPacket": "republish it with image_transport as raw or compressed",
    "theora": "republish it with image_transport as raw or compressed",
    "CompressedVideo": "republish it as sensor_msgs/msg/CompressedImage",
    "LaserScan": "a single line is no scan that the networks know",
}


def remedy_for(msgtype: str) -> str:
    """What helps about a type that hides clouds or pictures; "" for other types."""
    return next((remedy for part, remedy in FOREIGN.items() if part in msgtype), "")
