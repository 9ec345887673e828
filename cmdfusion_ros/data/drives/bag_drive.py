"""A drive from a bag: clouds and their images by stamp, poses from /tf or from the clouds."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cmdfusion_ros.data.bags.bag import Bag
from cmdfusion_ros.data.bags.bag_layout import BagLayout, CameraLayout, inspect_bag
from cmdfusion_ros.data.bags.bag_transforms import BagTransforms
from cmdfusion_ros.data.drives.drive import placed
from cmdfusion_ros.data.drives.odometry import STANDING, kiss_icp_trajectory, standing_trajectory
from cmdfusion_ros.frame import CameraView, Frame
from cmdfusion_ros.geometry.trajectory import TimeOutsideError, Trajectory
from cmdfusion_ros.messages.camera_info import read_camera_info
from cmdfusion_ros.messages.clouds import Cloud, read_cloud
from cmdfusion_ros.messages.images import decode_image
from cmdfusion_ros.messages.stamps import raw_stamp_ns


@dataclass(frozen=True, eq=False)
class DriveCloud:
    """A scan of a bag with what it was made of, for whoever writes labels back.

    Attributes:
        frame: Frame of the usable rows. cloud: Cloud. rows: (N,) bool, the usable ones.
    """

    frame: Frame
    cloud: Cloud
    rows: np.ndarray


class BagDrive:
    """The clouds of a bag as a Drive. Clouds that have no pose are left out.

    Args:
        path: any bag that `Bag` reads. points: PointCloud2 topic; None for the densest.
        odometry: "auto" (transforms where they move, else KISS-ICP), "recorded", "kiss-icp" or
            "none": it stands.
        duration: seconds of its head to take; 0 for all.

    Attributes:
        layout: BagLayout. left_out: clouds without a pose. transforms: all that the bag holds.

    Raises:
        FileNotFoundError, ValueError: no bag, no cloud in it, or `recorded` and no moving
            transform. ModuleNotFoundError: KISS-ICP is needed and not installed.
    """

    def __init__(
        self,
        path: str | Path,
        points: str | None = None,
        odometry: str = "auto",
        duration: float = 0.0,
    ):
        self.layout: BagLayout = inspect_bag(path, points, duration)
        self.name = self.layout.path.name.removesuffix(self.layout.path.suffix)
        self._duration = duration
        self._scale = 0.0  # of intensities: one dark scan must not change what the numbers mean
        with Bag(path, duration) as bag:
            self._times = self._index(bag)
            found = BagTransforms(bag, self.layout.transform_topics, self.layout.cloud_frame)
            self.transforms = found.buffer
            if odometry == STANDING:
                trajectory = standing_trajectory(self._times[self.layout.cloud_topic])
                self.odometry = STANDING
            else:
                trajectory = None if odometry == "kiss-icp" else self._from_transforms(found)
            if trajectory is None and odometry == "recorded":
                raise ValueError(
                    f"bag {path}: no moving transform above {self.layout.cloud_frame!r} on "
                    f"{', '.join(self.layout.transform_topics) or 'any topic'}; is there a /tf from"
                    " odometry? else take kiss-icp"
                )
            self._trajectory = trajectory or self._from_clouds(bag)
        known = [stamp for stamp in self._times[self.layout.cloud_topic] if self._has_pose(stamp)]
        self.left_out = len(self._times[self.layout.cloud_topic]) - len(known)
        if not known:
            raise ValueError(f"bag {path}: none of its clouds has a pose; {self._why_outside()}")
        self._stamps = sorted(known)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"{self.name}/{stamp}" for stamp in self._stamps)

    def __len__(self) -> int:
        return len(self._stamps)

    def read(self, index: int, images: bool = True, every_row: bool = False) -> Frame:
        return self.read_cloud(index, images, every_row).frame

    def read_cloud(self, index: int, images: bool = True, every_row: bool = False) -> DriveCloud:
        """Scan `index` with the Cloud that it was read from."""
        stamp = self._stamps[index]
        with Bag(self.layout.path, self._duration) as bag:
            message = self._message(bag, self.layout.cloud_topic, stamp)
            views = tuple(self._views(bag, stamp)) if images else ()
        cloud = read_cloud(message, least_scale=self._scale)
        self._scale = max(self._scale, cloud.intensity_scale)
        rows = cloud.usable
        if every_row:
            rows = np.isfinite(cloud.points).all(1) & cloud.points.any(1)
        frame = Frame(
            np.ascontiguousarray(cloud.points[rows]),
            np.ascontiguousarray(cloud.intensity[rows]),
            stamp,
            self.layout.cloud_frame,
            views,
            name=self.names[index],
        )
        return DriveCloud(placed(frame, self._trajectory), cloud, rows)

    def _index(self, bag: Bag) -> dict[str, dict[int, int]]:
        """{topic: {header stamp: recording time}} of the clouds and images; what has no stamp is
        passed over."""
        topics = [self.layout.cloud_topic, *(each.image_topic for each in self._cameras)]
        times: dict[str, dict[int, int]] = {topic: {} for topic in topics}
        for message in bag.messages(topics):
            try:
                stamp = raw_stamp_ns(message.data)
            except ValueError:
                continue
            if stamp:
                times[message.topic][stamp] = message.time
        return times

    @property
    def _cameras(self) -> tuple[CameraLayout, ...]:
        return self.layout.usable_cameras

    def _message(self, bag: Bag, topic: str, stamp: int):
        time = self._times[topic][stamp]
        for message in bag.messages([topic], start=time, stop=time + 1):
            if raw_stamp_ns(message.data) == stamp:  # several may have been written at one time
                return bag.deserialize(message)
        raise ValueError(f"bag {bag.path}: {topic} at {time} ns is gone; was the bag changed?")

    def _views(self, bag: Bag, stamp: int):
        """The CameraViews that go with a cloud, with the fixed places of their cameras."""
        for camera in self._cameras:
            wanted = stamp + camera.timing.offset
            stamps = self._times[camera.image_topic]
            nearest = min(stamps, key=lambda other: abs(other - wanted), default=None)
            if nearest is None or abs(nearest - wanted) > camera.timing.tolerance:
                continue
            try:
                image = decode_image(self._message(bag, camera.image_topic, nearest))
                intrinsic, distortion, size = read_camera_info(camera.info)
            except ValueError:  # an image that cannot be read costs this view, not the drive
                continue
            if tuple(size) == (image.shape[1], image.shape[0]):
                yield CameraView(
                    camera.name, image, intrinsic, camera.camera_from_lidar, distortion, nearest
                )

    def _from_transforms(self, found: BagTransforms) -> Trajectory | None:
        """The poses that transforms give the cloud's frame; None where nothing moves above it."""
        self.odometry = f"transforms {found.fixed_frame} <- {self.layout.cloud_frame}"
        return found.trajectory

    def _from_clouds(self, bag: Bag) -> Trajectory:
        self.odometry = "KISS-ICP"

        def scans():
            for stamp in sorted(self._times[self.layout.cloud_topic]):
                cloud = read_cloud(self._message(bag, self.layout.cloud_topic, stamp))
                yield stamp, cloud.points[cloud.usable]

        return kiss_icp_trajectory(scans(), f"bag {bag.path}")

    def _has_pose(self, stamp: int) -> bool:
        try:
            self._trajectory.at(stamp)
        except TimeOutsideError:
            return False
        return True

    def _why_outside(self) -> str:
        stamps = self._times[self.layout.cloud_topic]
        if not stamps:
            return "its clouds have no stamps"
        try:
            self._trajectory.at(min(stamps))
        except TimeOutsideError as error:
            return str(error)
        return ""
