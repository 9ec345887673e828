"""One turn of a spinning LiDAR through the street: exact hits, then what a real sensor makes of
them.
"""

from dataclasses import dataclass

import numpy as np

from cmdfusion_ros.data.synthetic.cells import hash_cells, smooth_noise
from cmdfusion_ros.data.synthetic.looks import paint_surfaces
from cmdfusion_ros.data.synthetic.rays import SKY, SpinRays, cast
from cmdfusion_ros.data.synthetic.rigs import LidarRig, Rig
from cmdfusion_ros.data.synthetic.surfaces import labels_of, surfaces_at
from cmdfusion_ros.data.synthetic.world import World
from cmdfusion_ros.geometry.transforms import invert

_UNLIKE = (50, 51, 70, 71, 80, 99)  # raw ids of what differs from part to part
_RETRO = 0.8  # intensity of reflectors of cars
_LEAF_SPECKLE = 0.33  # of leaves
_ROUGH = {70: 0.10, 51: 0.01}  # metres: leaves are deeper than the surface that stands for them
_GRASS = 0.15  # metres, of the longest
_BEAM_BIAS = 0.7  # of the noise: how far the ranges of single beams are off, always the same way
_SPECKLE = 0.2  # of intensity, one sigma
_GLASSY = 0.6  # gloss from which a surface is glass
# of the signal at 10 m that a dull grey wall sends back head-on; returns below _FAINT of it are
# lost by and by
_FULL = 0.35
_FAINT = 0.012
_LEAST = (
    0.06  # reflectance that sends back enough to be measured, though the intensity reported is 0
)


@dataclass(frozen=True)
class Scan:
    """The returns of one turn.

    Attributes:
        points: (N, 3) float32, metres, LiDAR frame at the scan's stamp (the middle of the turn), or
            uncompensated: at each point's own time.
        intensity: (N,) float32 in 0..1. raw: (N,) uint16, SemanticKITTI ids. instance_ids: (N,)
            uint16.
        ring: (N,) uint8, 0 is the uppermost beam. seconds: (N,) float32, after the stamp.
    """

    points: np.ndarray
    intensity: np.ndarray
    raw: np.ndarray
    instance_ids: np.ndarray
    ring: np.ndarray
    seconds: np.ndarray


def lidar_pose(world: World, rig: Rig, seconds: float) -> np.ndarray:
    """world_from_lidar (4, 4) at a time."""
    return world.vehicle(seconds) @ rig.lidar.vehicle_from_lidar


def scan(
    world: World,
    rig: Rig,
    seconds: float,
    rng: np.random.Generator,
    compensated: bool = True,
    clean: bool = False,
) -> Scan:
    """A Scan at `seconds`.

    Args:
        world: World. rig: Rig. rng: Generator of this scan's noise.
        compensated: whether the motion of the sensor during the turn is taken out of the points, as
            SemanticKITTI's are.
        clean: exact ranges, nothing lost, no mixed pixels.
    """
    lidar = rig.lidar
    pose = lidar_pose(world, rig, seconds)
    velocity, yaw_rate = world.motion(seconds)
    rays = SpinRays(
        pose,
        np.radians(np.array(lidar.elevation)),
        lidar.columns,
        1 / lidar.rate,
        velocity,
        yaw_rate,
        lidar.field,
    )
    solids = world.solids(seconds)
    hits = cast(rays, solids, lidar.reach, world.ground)
    rows, columns = np.nonzero(hits.index != SKY)
    surfaces = surfaces_at(rays, hits, solids, world.ground, rows, columns)
    albedo, gloss, _ = paint_surfaces(surfaces, solids, world.ground)
    reflectance = _reflectance(surfaces, solids, albedo, gloss, world.ground_tone)
    part, distance = surfaces.part, surfaces.distance
    intensity = reflectance
    kept = distance > lidar.least
    if not clean:
        part, distance = _mix(hits, rows, columns, distance, rng)
        speckle = np.where(surfaces.raw == 70, _LEAF_SPECKLE, _SPECKLE).astype(np.float32)
        grain = 1 + speckle * rng.standard_normal(len(reflectance))
        intensity = np.clip(reflectance * grain + rng.normal(0, 0.03, len(reflectance)), 0, 1)
        kept &= _returns(surfaces, reflectance, gloss, lidar.dropout, rng)
        distance = (
            distance
            + _range_noise(surfaces.raw, lidar.noise, rng)
            + beam_bias(lidar)[rows]
            - _grass(surfaces, rng)
        )
        kept &= distance > lidar.least  # what is measured, not what is there
    intensity = _reported(lidar, intensity, surfaces.distance)
    raw, instance = labels_of(part, solids)
    points = _points(rays, pose, distance, rows, columns, yaw_rate, compensated)
    return Scan(
        points=points[kept],
        intensity=np.round(intensity[kept] * 255).astype(np.float32) / np.float32(255),
        raw=raw[kept],
        instance_ids=instance[kept],
        ring=rows[kept].astype(np.uint8),
        seconds=rays.seconds[columns[kept]].astype(np.float32),
    )


def _reported(lidar, intensity, distance):
    """(N,) intensity in 0..1 as that LidarRig reports it, by what comes back from which range."""
    value = lidar.gain * intensity**lidar.gamma
    if lidar.falloff:
        value = value * (10 / np.maximum(distance, 10)) ** lidar.falloff
    if lidar.near_gain:
        value = value * (1 + lidar.near_gain * np.exp(-distance / 3))
    return np.clip(value, 0, 1)


def _reflectance(surfaces, solids, albedo, gloss, ground_tone):
    """Intensity as the sensor reports it, range already compensated: material, a weak fall with
    incidence, patterns in part (they are seen in infrared too).
    """
    base = surfaces.reflectance(solids)
    paint = surfaces.paint(solids)
    pattern = np.clip(albedo.mean(axis=1) / np.maximum(paint.mean(axis=1), 0.02), 0.6, 1.5)
    # A dull surface seen aslant; ground returns of real sensors fall little.
    fall = np.where(surfaces.on_ground, np.float32(0.14), np.float32(0.35))
    value = base * (1 - fall * (1 - surfaces.cosine)) * (1 + 0.35 * (pattern - 1)) * _tone(surfaces)
    painted = gloss > 0.4
    value[painted] *= 0.2 + 0.8 * surfaces.cosine[painted] ** 2
    value[gloss > _GLASSY] *= 0.25
    value *= np.where(surfaces.on_ground, ground_tone[surfaces.zone], np.float32(1))
    back = (surfaces.raw == 81) & (albedo.min(axis=1) > 0.315) & (albedo.max(axis=1) < 0.325)
    value[back] = 0.3
    value[_reflectors(surfaces, albedo, gloss)] = _RETRO
    return np.clip(value, 0.0, 1.0)


def _reflectors(surfaces, albedo, gloss):
    """(N,) bool: number plates and rear lamps of cars, which send light back where it came from."""
    car = np.isin(surfaces.raw, (10, 252))
    plate = (gloss == 0) & (albedo.min(axis=1) > 0.6)
    lamp = (albedo[:, 0] > 0.44) & (albedo[:, 1] < 0.03)
    return car & (plate | lamp)


def _tone(surfaces):
    """(N,) float32 around 1: no two walls or crowns are alike, and ground is worn in patches."""
    x, y = surfaces.points[:, 0], surfaces.points[:, 1]
    worn = 0.8 + 0.25 * smooth_noise(x * 0.11, y * 0.11, 103) + 0.15 * smooth_noise(x, y, 104)
    own = 0.65 + 0.7 * hash_cells(surfaces.part, surfaces.part * 0, salt=105)
    plain = np.isin(surfaces.raw, _UNLIKE)
    return np.where(surfaces.on_ground, worn, np.where(plain, own, np.float32(1)))


def _returns(surfaces, reflectance, gloss, dropout, rng):
    """Which rays come back: fewer from afar, from dark or glancing surfaces, from glass; one in a
    hundred and the sensor's own `dropout` are lost without reason.
    """
    bright, near = np.maximum(reflectance, _LEAST) / _FULL, np.maximum(surfaces.distance, 5.0)
    signal = (
        bright
        * (0.3 + 0.7 * surfaces.cosine)
        * (10.0 / near) ** 2
        * np.exp(-surfaces.distance / 250)
    )
    share = np.clip((signal / _FAINT) ** 0.7, 0, 0.99)
    glass = gloss > _GLASSY
    share[glass] *= np.where(surfaces.cosine[glass] > 0.985, 0.7, 0.22)
    return rng.random(len(share)) < share * (1 - dropout)


def _range_noise(raw, noise, rng):
    sigma = np.full(len(raw), noise, np.float32)
    for code, rough in _ROUGH.items():
        sigma[raw == code] = np.hypot(noise, rough)
    return (rng.standard_normal(len(raw)) * sigma).astype(np.float32)


def beam_bias(lidar: LidarRig) -> np.ndarray:
    """(R,) float32 metres by which each beam of that LidarRig measures too far."""
    return (
        np.random.default_rng(len(lidar.elevation))
        .normal(0, _BEAM_BIAS * lidar.noise, len(lidar.elevation))
        .astype(np.float32)
    )


def _grass(surfaces, rng):
    """(N,) float32 metres by which the blades of a lawn or a field come before its ground; long
    and short grass grows in patches.
    """
    before = np.zeros(len(surfaces.raw), np.float32)
    rows = np.flatnonzero((surfaces.raw == 72) & surfaces.on_ground)
    x, y = surfaces.points[rows, 0], surfaces.points[rows, 1]
    patches = 0.7 * smooth_noise(x * 0.13, y * 0.13, 101) + 0.3 * smooth_noise(
        x * 0.9, y * 0.9, 102
    )
    height = (0.004 + _GRASS * np.clip(1.6 * patches - 0.55, 0, 1) ** 2) * np.abs(
        rng.standard_normal(len(rows), np.float32)
    )
    before[rows] = np.minimum(height / np.maximum(-surfaces.directions[rows, 2], 0.05), 1.5)
    return before


def _mix(hits, rows, columns, distance, rng):
    """Mixed pixels: at the edge of a body a beam covers it and what is behind it, and one range
    comes back from between.

    Returns:
        part (N,), distance (N,): those of the neighbour that gives more, and the mixture.
    """
    beside = (columns + 1) % hits.distance.shape[1]
    other = hits.distance[rows, beside]
    part = hits.index[rows, columns].copy()
    gap = np.abs(other - distance)
    mixed = np.flatnonzero((gap > 0.25) & (gap < 5.0) & (rng.random(len(distance)) < 0.12))
    share = rng.random(len(mixed)).astype(np.float32)
    distance = distance.copy()
    part[mixed] = np.where(share > 0.5, hits.index[rows[mixed], beside[mixed]], part[mixed])
    distance[mixed] += share * (other[mixed] - distance[mixed])
    return part, distance


def _points(rays, pose, distance, rows, columns, yaw_rate, compensated):
    """(N, 3) float32 in the LiDAR frame."""
    directions = rays.directions[:, rows, columns].astype(np.float64)
    away = directions * distance
    lidar_from_world = invert(pose)[:3, :3]
    if compensated:
        return (
            lidar_from_world @ (away + rays.velocity[:, None] * rays.seconds[columns])
        ).T.astype(np.float32)
    x, y, z = lidar_from_world @ away
    turn = yaw_rate * rays.seconds[columns]
    c, s = np.cos(turn), np.sin(turn)
    return np.stack([c * x + s * y, c * y - s * x, z], axis=1).astype(np.float32)
