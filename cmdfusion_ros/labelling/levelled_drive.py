"""A drive as the network sees it: scans that come in base_link, upside down or in millimetres are
brought to the frame that networks know, as the node does by `points.leveling`.
"""

from dataclasses import replace

import numpy as np

from cmdfusion_ros.data.drives.drive import Drive
from cmdfusion_ros.frame import Frame
from cmdfusion_ros.geometry.transforms import apply, invert
from cmdfusion_ros.labelling.network_frame import TRIES, NetworkFrame
from cmdfusion_ros.labelling.placement import Placement
from cmdfusion_ros.messages.clouds import usable_points


class LevelledDrive:
    """A Drive whose scans lie as networks know them: found once over its first scans, then kept.

    Points come in metres, in the frame that the network sees; cameras and poses go with them. A
    drive that lies so already, or of which nothing sure is known, comes as it is.

    Attributes:
        name, names, odometry: of the drive. placement: Placement that was found.
    """

    def __init__(self, drive: Drive):
        self._drive, self.name, self.odometry = drive, drive.name, drive.odometry
        self._frame = NetworkFrame(drive.transforms)
        self.transforms = drive.transforms
        for index in range(min(TRIES, len(drive))):
            scan = drive.read(index, images=False, every_row=True)
            self._frame.take(scan.points, scan.frame_id, scan.stamp)
            if self._frame.placement.sure:
                break

    @property
    def placement(self) -> Placement:
        return self._frame.placement

    @property
    def names(self) -> tuple[str, ...]:
        return self._drive.names

    def __len__(self) -> int:
        return len(self._drive)

    def read(self, index: int, images: bool = True, every_row: bool = False) -> Frame:
        """Scan `index`, as of `Drive`; `every_row` keeps nothing more, as these are metres.

        Raises:
            TransformError: the sensor's place is known by transforms, but not at that time.
        """
        if not self.placement.changes:
            return self._drive.read(index, images, every_row)
        scan = self._drive.read(index, images, every_row=True)
        network_from_cloud = self._frame.network_from_cloud(scan.points, scan.stamp)
        metres = scan.points * np.float32(self.placement.scale)
        points = np.ascontiguousarray(apply(network_from_cloud, metres), np.float32)
        rows = usable_points(metres) & usable_points(points)
        cloud_from_network = invert(network_from_cloud)
        pose = scan.world_from_lidar
        return replace(
            scan,
            points=points[rows],
            intensity=scan.intensity[rows],
            views=tuple(
                replace(view, camera_from_lidar=view.camera_from_lidar @ cloud_from_network)
                for view in scan.views
            ),
            world_from_lidar=None if pose is None else pose @ cloud_from_network,
        )
