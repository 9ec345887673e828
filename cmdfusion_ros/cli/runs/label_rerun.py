"""`cmdfusion label --rrd`: the labelled clouds of a bag, its cameras and where all of them were,
for the Rerun viewer.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cmdfusion_ros.class_map import ClassMap
from cmdfusion_ros.data.bags.bag import Bag, BagMessage, read_labelled_clouds
from cmdfusion_ros.data.bags.bag_layout import BagLayout, CameraLayout
from cmdfusion_ros.data.bags.bag_transforms import BagTransforms
from cmdfusion_ros.evaluation.rerun_file import RerunFile
from cmdfusion_ros.frame import Distortion
from cmdfusion_ros.geometry.projection import project_points
from cmdfusion_ros.geometry.trajectory import TimeOutsideError
from cmdfusion_ros.geometry.transforms import invert
from cmdfusion_ros.labelling.offline import LABELLED_TOPIC
from cmdfusion_ros.messages.camera_info import read_camera_info
from cmdfusion_ros.messages.clouds import MessageError
from cmdfusion_ros.messages.images import decode_image
from cmdfusion_ros.messages.stamps import raw_stamp_ns

_QUALITY = 90  # of JPEG files, where a picture has to be made anew
_MAGIC = {b"\xff\xd8\xff": "jpeg", b"\x89PNG\r\n\x1a\n": "png"}


def write_rerun(
    path: str | Path,
    layout: BagLayout,
    labelled: Path,
    class_map: ClassMap,
    silences: Mapping[str, int],
) -> tuple[int, int]:
    """Write all labelled clouds, and all pictures of the cameras that are used.

    Args:
        path: .rrd to make. layout: of the bag that was labelled. labelled: the bag of labels.
        class_map: of those. silences: as `BagLayout.silences` gives them.

    Returns:
        How many clouds and pictures.
    """
    with Bag(layout.path) as bag, RerunFile(path, layout.given.name, class_map) as file:
        found = BagTransforms(bag, layout.transform_topics, layout.cloud_frame)
        clouds = pictures = 0
        for stamp, columns in read_labelled_clouds(labelled, LABELLED_TOPIC):
            points = np.stack([columns[axis] for axis in "xyz"], axis=1)
            kept = np.isfinite(points).all(axis=1) & points.any(axis=1)
            file.cloud(stamp, points[kept], columns["label"][kept], _pose(found, stamp))
            clouds += 1
        for camera in layout.usable_cameras:
            pictures += _write_camera(file, bag, camera, found, silences.get(camera.image_topic))
    return clouds, pictures


def _pose(found: BagTransforms, stamp: int) -> np.ndarray:
    """world_from_lidar (4, 4): of the nearest time at which it is known; the LiDAR stands still
    where nothing says that it moves.
    """
    if found.trajectory is None:
        return np.eye(4)
    try:
        return found.trajectory.at(stamp)
    except TimeOutsideError:
        nearest = np.abs(found.trajectory.stamps - stamp).argmin()
        return found.trajectory.world_from_lidar[nearest]


def _write_camera(
    file: RerunFile, bag: Bag, camera: CameraLayout, found: BagTransforms, silent: int | None
) -> int:
    intrinsic, distortion, size = read_camera_info(camera.info, camera.rectified)
    file.camera(camera.name, intrinsic, size)
    straight = None if distortion is None else _straight(intrinsic, size, distortion)
    lidar_from_camera, count = invert(camera.camera_from_lidar), 0
    for message in bag.messages([camera.image_topic], stop=silent):
        try:
            stamp = raw_stamp_ns(message.data)
            contents, kind = _picture(bag, message, straight)
        except (MessageError, ValueError):  # the run has said so already
            continue
        file.picture(camera.name, stamp, contents, kind, _pose(found, stamp) @ lidar_from_camera)
        count += 1
    return count


def _straight(
    intrinsic: np.ndarray, size: tuple[int, int], distortion: Distortion
) -> tuple[np.ndarray, np.ndarray]:
    """Where in the recorded picture each pixel of a picture without distortion lies: (H, W) u and
    v, -1 outside.
    """
    width, height = size
    u, v = np.meshgrid(np.arange(width), np.arange(height))
    pixels = np.stack([u.ravel(), v.ravel(), np.ones(u.size)])
    rays = (np.linalg.inv(intrinsic) @ pixels).T  # z is 1
    found, visible = project_points(rays, intrinsic, np.eye(4), size, distortion)
    found[~visible] = -1
    return found[:, 0].reshape(height, width), found[:, 1].reshape(height, width)


def _picture(bag: Bag, message: BagMessage, straight: Any) -> tuple[bytes, str]:
    """(file, kind) of a recorded picture: its own bytes where it is a JPEG or PNG through a lens
    without distortion.
    """
    content = bag.deserialize(message)
    raw = bytes(getattr(content, "data", b"")) if hasattr(content, "format") else b""
    kind = next((kind for magic, kind in _MAGIC.items() if raw.startswith(magic)), "")
    if kind and straight is None:
        return raw, kind
    image = decode_image(content)
    if straight is not None:
        image = cv2.remap(image, *straight, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    quality = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
    return cv2.imencode(".jpg", image[:, :, ::-1], quality)[1].tobytes(), "jpeg"
