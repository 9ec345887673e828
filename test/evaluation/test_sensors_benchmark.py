"""benchmarks/sensors.py: what the node would read of each made-up sensor's message is what the
sensor saw.
"""

import numpy as np
import pytest
from builders.paths import load_script

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.data.synthetic.world import World, WorldSettings

STREET = load_class_map("street")


@pytest.fixture(scope="module")
def sensors():
    return load_script("benchmarks/sensors.py")


@pytest.fixture(scope="module")
def world():
    return World(np.random.default_rng(1), 5.0, WorldSettings())


def test_sensors_write_the_same_street_in_their_own_way(sensors, world):
    def frame(name):
        return sensors.frame_of(
            world, sensors.sensors()[name], STREET, name, np.random.default_rng(2)
        )

    byte, dropped = frame("HDL-32E at 1.84 m, 8-bit intensity")
    without, _ = frame("HDL-32E, no intensity")
    assert dropped == 0 and byte.intensity.max() > 0.2 and not without.intensity.any()
    order, other = np.lexsort(byte.points.T), np.lexsort(without.points.T)
    assert np.array_equal(byte.points[order], without.points[other]) and np.array_equal(
        byte.labels[order], without.labels[other]
    )
    assert np.allclose(byte.intensity * 255, np.round(byte.intensity * 255), atol=1e-3)
    ouster, dropped = frame("Ouster 128 at 1.8 m, zeros, 16-bit")
    assert dropped > 5000 and ouster.num_points + dropped == 128 * 1024
    assert (ouster.points != 0).any(1).all() and 0.2 < ouster.intensity.max() <= 1
    assert (ouster.labels != 255).mean() > 0.9


@pytest.mark.parametrize("height", [1.2, 2.5])
def test_a_higher_sensor_sees_the_road_further_below(sensors, world, height):
    frame, _ = sensors.frame_of(
        world, sensors.sensors()[f"HDL-64E at {height} m"], STREET, "", np.random.default_rng(2)
    )
    road = frame.points[
        (frame.labels == STREET.label("road")) & (np.hypot(*frame.points[:, :2].T) < 8)
    ]
    assert abs(np.median(road[:, 2]) + height) < 0.15
