"""A sensor that nobody sells, drawn from a seed: beams, place, tilt, reach, faults, cameras.

Ranges are those of data sheets and of what people mount: 16 to 128 beams, on robots (0.4 m), cars,
vans and lorries (3.5 m), all around or to the front only.
"""

import numpy as np

from cmdfusion_ros.data.synthetic.rigs import CameraRig, LidarRig, Rig, hdl64_beams, pandar64_beams

_NUM_BEAMS = {16: 0.12, 32: 0.26, 40: 0.10, 64: 0.36, 128: 0.16}  # and how often
_MOST_RAYS = 125_000  # of a turn; what 64 beams of 2000 firings come to
_RATES = (5.0, 10.0, 10.0, 10.0, 20.0)
# Metres above the road: robots, cars, vans, lorries; and how often.
_HEIGHTS = ((0.4, 1.1), (1.5, 2.0), (1.9, 2.6), (2.6, 3.5))
_HEIGHT_SHARES = (0.18, 0.47, 0.25, 0.10)


def random_rig(rng: np.random.Generator) -> Rig:
    """A Rig named "random" from a Generator; equal states give equal rigs."""
    beams = _beams(rng)
    ahead = rng.random() < 0.15
    field = float(rng.uniform(60, 120)) if ahead else 360.0
    fired = min(_MOST_RAYS / len(beams) * (360 / field) ** 0.5, 4000)
    columns = int(fired * rng.uniform(0.55, 1.0))
    low, high = _HEIGHTS[rng.choice(len(_HEIGHTS), p=_HEIGHT_SHARES)]
    height = float(rng.uniform(low, high))
    gain, gamma = _intensity_law(rng)
    lidar = LidarRig(
        elevation=beams,
        columns=columns,
        rate=float(rng.choice(_RATES)),
        height=height,
        reach=float(rng.choice((50, 80, 100, 120, 200), p=(0.15, 0.3, 0.25, 0.2, 0.1))),
        least=float(rng.choice((0.5, 1.0, 1.5, 2.5))),
        noise=float(rng.uniform(0.008, 0.035)),
        gain=gain,
        gamma=gamma,
        roll=float(rng.normal(0, 1.0)),
        pitch=float(np.clip(rng.normal(0, 2.0) + (rng.random() < 0.1) * rng.uniform(0, 8), -6, 12)),
        field=field,
        falloff=float(rng.choice((0.0, rng.uniform(0.1, 0.8)), p=(0.6, 0.4))),
        near_gain=float(rng.choice((0.0, rng.uniform(-0.7, 1.5)), p=(0.6, 0.4))),
        dropout=float(rng.choice((0.0, rng.uniform(0.02, 0.2)), p=(0.7, 0.3))),
    )
    return Rig("random", lidar, _cameras(rng, height, ahead, lidar.rate))


def _beams(rng):
    """Elevations in degrees, descending: tables of real sensors, even steps, or denser ahead."""
    kind = rng.random()
    if kind < 0.2:
        table = np.array(hdl64_beams() if rng.random() < 0.6 else pandar64_beams())
        beams = table * rng.uniform(0.9, 1.1) + rng.normal(0, 0.5)
    else:
        count = int(rng.choice(list(_NUM_BEAMS), p=list(_NUM_BEAMS.values())))
        top = rng.uniform(2, 18) if count > 16 else rng.uniform(5, 16)
        bottom = -rng.uniform(15, 30) if rng.random() < 0.85 else -rng.uniform(30, 45)
        place = np.linspace(-1, 1, count)
        if kind < 0.65:  # even steps
            beams = (top + bottom) / 2 - place * (top - bottom) / 2
        else:  # dense around a direction a little below the horizon, wide outside
            power, level = rng.uniform(1.5, 3.0), rng.uniform(-4, 0)
            bent = np.sign(place) * np.abs(place) ** power
            beams = level - np.where(bent < 0, bent * (top - level), bent * (level - bottom))
    beams = beams + rng.normal(0, 0.04, len(beams))
    if rng.random() < 0.1:  # some beams are dead
        beams = beams[rng.random(len(beams)) > rng.uniform(0.02, 0.15)]
    return tuple(np.sort(beams)[::-1].tolist())


def _intensity_law(rng):
    """Gain and power of what is reported: KITTI's even scale, one made for reflectors, or any."""
    kind = rng.random()
    if kind < 0.4:
        return float(rng.uniform(0.8, 1.25)), float(rng.uniform(0.8, 1.25))
    if kind < 0.75:
        return float(rng.uniform(1.2, 2.4)), float(rng.uniform(2.2, 3.2))
    return float(rng.uniform(0.4, 1.4)), float(rng.uniform(0.5, 2.2))


def _cameras(rng, height, ahead, rate):
    """One camera to the front, three, or six around; places by the height of the LiDAR."""
    count = 1 if ahead or rng.random() < 0.5 else int(rng.choice((3, 6)))
    size = ((640, 360), (960, 540), (1242, 375), (800, 600))[rng.integers(4)]
    focal = size[0] / 2 / np.tan(np.radians(rng.uniform(60, 100)) / 2)
    below = -float(min(rng.uniform(0.05, 0.5), height - 0.25))
    yaws = {1: (0.0,), 3: (0.0, 55.0, -55.0), 6: (0.0, 55.0, -55.0, 110.0, -110.0, 180.0)}[count]
    names = ("front", "front_left", "front_right", "left", "right", "back")
    cameras = []
    for name, yaw in zip(names, yaws, strict=False):
        turned = yaw + float(rng.normal(0, 2.0))
        turn = np.radians(turned)
        place = (0.4 * float(np.cos(turn)), 0.3 * float(np.sin(turn)), below)
        late = 0 if name == "front" else round(float(rng.uniform(-0.5, 0.5)) / rate * 1e9)
        cameras.append(CameraRig(name, size, float(focal), turned, place, late_ns=late))
    return tuple(cameras)
