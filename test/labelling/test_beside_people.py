"""What lies beside people stays in ~/points_filtered."""

import dataclasses

import numpy as np
import pytest
from builders.cloud_outputs import outputs
from builders.labelled_cloud import STREET

from cmdfusion_ros.frame import Prediction
from cmdfusion_ros.messages.clouds import usable_points


@pytest.mark.parametrize(
    ("feet", "label", "classes", "stays"),
    [
        (0.29, "person", ["road"], True),
        (0.29, "two_wheeler", ["road"], True),
        (0.7, "person", ["road"], False),  # over twice 0.3 m
        (0.29, "car", ["road"], False),
        (0.29, "person", ["road", "person"], False),  # no person is to stay
    ],
)
def test_road_beside_a_person_that_stays_is_left_there(labelled, feet, label, classes, stays):
    points = np.float32([[5, 0, 0], [5, 0, feet], [40, 0, 0], [0, 0, 0], [50, 0, 0]])
    labels = [STREET.label(name) for name in ("road", label, "road", "road")]
    prediction = Prediction(
        np.array(labels, np.uint8), np.ones(4, np.float32), np.zeros(4, np.uint32)
    )
    cloud = dataclasses.replace(labelled.cloud, points=points, usable=usable_points(points))
    it = dataclasses.replace(labelled, cloud=cloud)
    kept = outputs(filter__classes=classes).kept(it, prediction)
    np.testing.assert_array_equal(kept, [stays, label not in classes, False, False, False])
