"""Messages made by hand, which will do for the rooms that know no ROS."""

import array
from types import SimpleNamespace

import cv2
import numpy as np

from cmdfusion_ros.pairing import paired_cloud

# optical axes of a camera that looks along the LiDAR's x
FRONT = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])
# the file of a camera of 64 x 48 pixels at the LiDAR's origin that looks along its x
CALIBRATION_AHEAD = (
    "image_width: 64\nimage_height: 48\ndistortion_model: plumb_bob\n"
    "camera_matrix: {rows: 3, cols: 3, data: [40, 0, 31.5, 0, 40, 23.5, 0, 0, 1]}\n"
    "distortion_coefficients: {rows: 1, cols: 5, data: [0, 0, 0, 0, 0]}\n"
    "camera_from_lidar: {rows: 4, cols: 4, data: [0, -1, 0, 0, 0, 0, -1, 0, 1, 0, 0, 0, 0, 0, "
    "0, 1]}\n"
)


def make_header(stamp, frame_id):
    return SimpleNamespace(
        stamp=SimpleNamespace(sec=stamp // 10**9, nanosec=stamp % 10**9), frame_id=frame_id
    )


def make_cloud(points, stamp=10**9, frame_id="lidar", intensity=None):
    """A PointCloud2 with x, y, z, intensity FLOAT32 from (N, 3) points."""
    values = np.zeros((len(points), 4), np.float32)
    values[:, :3] = points
    values[:, 3] = 0.5 if intensity is None else intensity
    fields = [
        SimpleNamespace(name=name, offset=4 * index, datatype=7, count=1)
        for index, name in enumerate(("x", "y", "z", "intensity"))
    ]
    return SimpleNamespace(
        header=make_header(stamp, frame_id),
        height=1,
        width=len(points),
        fields=fields,
        is_bigendian=False,
        is_dense=True,
        point_step=16,
        row_step=16 * len(points),
        data=array.array("B", values.tobytes()),
    )


def make_jpeg(width=64, height=48, stamp=10**9, frame_id="front_optical"):
    """A grey CompressedImage."""
    data = cv2.imencode(".jpg", np.full((height, width, 3), 128, np.uint8))[1].tobytes()
    return SimpleNamespace(header=make_header(stamp, frame_id), format="jpeg", data=data)


def make_camera_info(width=64, height=48, focal=40.0, frame_id="front_optical"):
    """A CameraInfo without distortion, the axis in the middle."""
    k = [focal, 0.0, (width - 1) / 2, 0.0, focal, (height - 1) / 2, 0.0, 0.0, 1.0]
    return SimpleNamespace(
        header=make_header(0, frame_id),
        width=width,
        height=height,
        distortion_model="plumb_bob",
        d=[0.0] * 5,
        k=k,
        p=[*k[:3], 0.0, *k[3:6], 0.0, *k[6:], 0.0],
        binning_x=0,
        binning_y=0,
        roi=SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0),
    )


def make_paired(cloud, images=None, states=None, stamp=10**9, epoch=0):
    """A PairedCloud of `cloud` with {camera: image message}; the cameras in `states` gave none."""
    images = {
        name: paired_cloud.PairedImage(stamp, image, 2_000_000)
        for name, image in (images or {}).items()
    }
    states = {**{name: paired_cloud.CameraStatus.FUSED for name in images}, **(states or {})}
    mode = paired_cloud.mode_of(states) if states else paired_cloud.Mode.LIDAR_ONLY
    return paired_cloud.PairedCloud(
        stamp, cloud, images, states, mode, epoch, 0, 5_000_000, paired_cloud.ReleaseReason.SETTLED
    )
