"""One scan of a turning LiDAR in a street with flat ground, walls and some boxes."""

import numpy as np

HEIGHT = 1.8  # metres over the ground
_BOXES = ((8.0, 4.0), (-6.0, -5.0), (15.0, -4.0), (-14.0, 5.0), (4.0, -7.0))  # middles, 2 m wide


def turning_scan(beams=32, low=-25.0, high=15.0, step=0.4, seed=0):
    """(N, 3) float64, metres: `beams` between `low` and `high` degrees, every `step` degrees of
    azimuth; the sensor is HEIGHT over the ground, walls are 12 m aside and 40 m ahead and behind.
    """
    azimuth = np.radians(np.arange(0, 360, step))
    elevation = np.radians(np.linspace(low, high, beams))[:, None]
    ones = np.ones_like(azimuth)
    rays = np.stack(
        [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth),
         np.sin(elevation) * ones], axis=-1,
    ).reshape(-1, 3)  # fmt: skip
    rays[np.abs(rays) < 1e-12] = 1e-12
    distance = np.minimum(12 / np.abs(rays[:, 1]), 40 / np.abs(rays[:, 0]))
    distance = np.minimum(distance, np.where(rays[:, 2] < 0, HEIGHT / np.abs(rays[:, 2]), np.inf))
    for x, y in _BOXES:
        near, far = np.full(len(rays), -np.inf), np.full(len(rays), np.inf)
        for axis, middle in enumerate((x, y, 1.0 - HEIGHT)):
            ends = np.array([[middle - 1.0], [middle + 1.0]]) / rays[:, axis]
            near, far = np.maximum(near, ends.min(axis=0)), np.minimum(far, ends.max(axis=0))
        distance = np.where((near < far) & (near > 0), np.minimum(distance, near), distance)
    noise = np.random.default_rng(seed).normal(0, 0.01, len(rays))
    return rays * (distance + noise)[:, None]
