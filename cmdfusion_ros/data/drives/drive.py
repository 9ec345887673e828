"""What a drive is, whatever it is read from."""

from dataclasses import replace
from typing import Protocol

from cmdfusion_ros.frame import CameraView, Frame
from cmdfusion_ros.geometry.trajectory import TimeOutsideError, Trajectory
from cmdfusion_ros.messages.transforms import TransformBuffer


class Drive(Protocol):
    """The scans of one recording, in order of time.

    Attributes:
        name: of the recording. names: of its scans, each once.
        odometry: in words, where its poses come from.
        transforms: those of the recording; none where it is a folder.
    """

    name: str
    odometry: str
    transforms: TransformBuffer

    @property
    def names(self) -> tuple[str, ...]: ...

    def __len__(self) -> int: ...

    def read(self, index: int, images: bool = True, every_row: bool = False) -> Frame:
        """Scan `index` as a Frame with its pose, without labels. Each view's `camera_from_lidar`
        takes points from where the LiDAR was at the scan's stamp to the camera at the image's.
        `every_row`: with what is too far away for a point in metres, as the unit may be another.
        """
        ...


def moved_view(view: CameraView, trajectory: Trajectory, cloud_stamp: int) -> CameraView | None:
    """A view with the fixed place of its camera -> with the vehicle's motion between the scan and
    the image in it; None where the drive has no pose at the image's time."""
    if not view.stamp or view.stamp == cloud_stamp:
        return view
    try:
        motion = trajectory.motion(cloud_stamp, view.stamp)
    except TimeOutsideError:
        return None
    return replace(view, camera_from_lidar=view.camera_from_lidar @ motion)


def placed(frame: Frame, trajectory: Trajectory) -> Frame:
    """A Frame with fixed cameras and no pose -> with its pose, and `moved_view` of each view.

    Raises:
        TimeOutsideError: the drive has no pose at its stamp.
    """
    pose = trajectory.at(frame.stamp)
    views = (moved_view(view, trajectory, frame.stamp) for view in frame.views)
    kept = tuple(view for view in views if view is not None)
    return replace(frame, views=kept, world_from_lidar=pose)
