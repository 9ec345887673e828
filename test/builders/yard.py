"""A flat yard with a post, as a LiDAR on a robot sees it."""

import numpy as np

HEIGHT = 1.8  # metres from the ground to the LiDAR


def yard():
    """(N, 3) of 48 beams 1.8 m over a flat yard, and a post from the ground up at (6, 0)."""
    azimuth = np.radians(np.arange(0, 360, 0.7))
    rings = []
    for elevation in np.radians(np.linspace(-25, -4, 48)):
        distance = HEIGHT / np.tan(-elevation)
        rings.append(
            np.c_[
                distance * np.cos(azimuth),
                distance * np.sin(azimuth),
                np.full(len(azimuth), -HEIGHT),
            ]
        )
    post = np.c_[np.full(40, 6.0), np.zeros(40), np.linspace(-HEIGHT, 1.0, 40)]
    return np.concatenate([*rings, post]).astype(np.float32)
