"""Whether the cameras of a bag sit and tick as it says, by the edges in its data."""

from collections.abc import Mapping

import numpy as np

from cmdfusion_ros.data.bags.bag import Bag
from cmdfusion_ros.data.bags.bag_layout import BagLayout, CameraLayout
from cmdfusion_ros.data.bags.bag_transforms import BagTransforms
from cmdfusion_ros.geometry.trajectory import TimeOutsideError, Trajectory
from cmdfusion_ros.geometry.transforms import invert
from cmdfusion_ros.labelling.alignment.check import Alignment, check_alignment
from cmdfusion_ros.labelling.alignment.score import Look, speeds
from cmdfusion_ros.messages.camera_info import read_camera_info
from cmdfusion_ros.messages.clouds import Cloud, MessageError, read_cloud
from cmdfusion_ros.messages.images import decode_image
from cmdfusion_ros.messages.stamps import raw_stamp_ns

MOST_LOOKED_AT = 12  # cameras: each costs two seconds, and a pass over the bag
_LOOKS = 8  # scans for each camera, spread over the bag
_AROUND_NS = 50_000_000  # to both sides, over which the speed is taken


def camera_alignments(
    bag: Bag, layout: BagLayout, transforms: BagTransforms, scale: float, origin: np.ndarray
) -> dict[str, Alignment]:
    """{camera: Alignment} of the first MOST_LOOKED_AT cameras that would be used.

    Args:
        bag: open. layout, transforms: of it. scale: metres in a unit of its clouds.
        origin: (3,) metres, where the LiDAR is in the frame of the clouds.
    """
    found = {}
    clouds = some_clouds(bag, layout)
    for camera in layout.usable_cameras[:MOST_LOOKED_AT]:
        if camera.camera_from_lidar is not None:
            intrinsic, distortion, _ = read_camera_info(camera.info, camera.rectified)
            looks = camera_looks(bag, camera, clouds, transforms.trajectory, scale, origin)
            found[camera.name] = check_alignment(looks, intrinsic, distortion)
    return found


def some_clouds(bag: Bag, layout: BagLayout) -> dict[int, Cloud]:
    """{stamp: Cloud} of some clouds, spread over the bag."""
    number = sum(1 for _ in bag.messages([layout.cloud_topic]))
    wanted = set(np.linspace(0, number - 1, min(number, _LOOKS)).astype(int).tolist())
    found = {}
    for place, message in enumerate(bag.messages([layout.cloud_topic])):
        if place in wanted:
            try:
                cloud = read_cloud(bag.deserialize(message))
            except ValueError:  # it costs this look; `find_in_clouds` says why
                continue
            found[cloud.stamp if layout.stamped else message.time] = cloud
    return found


def camera_looks(
    bag: Bag,
    camera: CameraLayout,
    clouds: Mapping[int, Cloud],
    trajectory: Trajectory | None,
    scale: float = 1.0,
    origin: np.ndarray | None = None,
) -> list[Look]:
    """Looks of the clouds, {stamp: Cloud}, that an image goes with; between their stamps the LiDAR
    moves along `trajectory`.
    """
    chosen: dict[int, tuple[int, int]] = {}  # cloud's stamp: (image's, time of recording)
    for message in bag.messages([camera.image_topic]):
        try:
            stamp = raw_stamp_ns(message.data)
        except ValueError:
            continue
        for at in clouds:
            away = abs(stamp - at - camera.timing.offset)
            before = abs(chosen[at][0] - at - camera.timing.offset) if at in chosen else None
            if away <= camera.timing.tolerance and (before is None or away < before):
                chosen[at] = stamp, message.time
    looks: list[Look] = []
    for at, (stamp, time) in sorted(chosen.items()):
        message = next(bag.messages([camera.image_topic], time, time + 1))
        try:
            image = decode_image(bag.deserialize(message))
        except (MessageError, ValueError):  # an image that cannot be read costs this look
            continue
        if looks and image.shape != looks[0].image.shape:
            continue
        cloud = clouds[at]
        points = cloud.points[cloud.usable] * np.float32(scale)
        moved, velocity, turning = _motion(trajectory, at, stamp)
        placed = np.asarray(camera.camera_from_lidar) @ moved
        place = np.zeros(3) if origin is None else origin
        looks.append(
            Look(points, cloud.intensity[cloud.usable], image, placed, velocity, turning, place)
        )
    return looks


def _motion(
    trajectory: Trajectory | None, cloud: int, image: int
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """((4, 4) to the LiDAR at the image's stamp from it at the cloud's, its velocity in m/s and its
    turning in rad/s in its own axes then; None twice where nothing is known of its motion).
    """
    if trajectory is None:
        return np.eye(4), None, None
    try:
        moved = invert(trajectory.at(image)) @ trajectory.at(cloud)
        step = invert(trajectory.at(image - _AROUND_NS)) @ trajectory.at(image + _AROUND_NS)
    except TimeOutsideError:
        return np.eye(4), None, None
    return moved, *speeds(step, 2 * _AROUND_NS / 1e9)
