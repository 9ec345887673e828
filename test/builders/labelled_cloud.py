"""A cloud as the pipeline gives it: four points with known labels, seen by one camera."""

import numpy as np

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.frame import CameraView, Frame, Prediction
from cmdfusion_ros.labelling.labelled_cloud import CameraReport, LabelledCloud, Timings
from cmdfusion_ros.messages.clouds import read_cloud
from cmdfusion_ros.pairing.paired_cloud import CameraStatus, Mode

STREET = load_class_map("street")
ROAD, CAR = STREET.label("road"), STREET.label("car")
# the fourth is no return
POINTS = np.array([[1, 0, 0], [5, 0, 0], [5, 5, 0], [0, 0, 0], [50, 0, 0]], np.float32)


def make_labelled(messages):
    """Four points with labels road, car, car, road and rising confidence; the camera `front` was
    used.
    """
    cloud = read_cloud(messages.cloud(POINTS))
    rows = cloud.usable
    view = CameraView(
        "front",
        np.zeros((4, 6, 3), np.uint8),
        np.diag([40.0, 40, 1]),
        messages.camera_from_lidar,
        None,
        77,
    )
    frame = Frame(
        cloud.points[rows].copy(), cloud.intensity[rows].copy(), cloud.stamp, "lidar", (view,)
    )
    prediction = Prediction(
        np.array([ROAD, CAR, CAR, ROAD], np.uint8),
        np.float32([0.2, 0.4, 0.6, 0.8]),
        np.uint32([0, 1, 1, 0]),
    )
    report = CameraReport("front", CameraStatus.FUSED, "", 77, 1000, 2, 0.5)
    return LabelledCloud(
        messages.cloud(POINTS),
        cloud,
        rows,
        frame,
        prediction,
        Mode.FUSED,
        (report,),
        0,
        0,
        Timings(),
    )
