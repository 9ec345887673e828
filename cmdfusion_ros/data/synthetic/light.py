"""Sun, sky, shadows, lamps: how much light leaves each hit towards the camera."""

from dataclasses import dataclass

import numpy as np

from cmdfusion_ros.data.synthetic.cells import hash_cells, smooth_noise
from cmdfusion_ros.data.synthetic.rays import SunRays, cast, shorten
from cmdfusion_ros.data.synthetic.solids import Solids
from cmdfusion_ros.data.synthetic.surfaces import Surfaces
from cmdfusion_ros.data.synthetic.world import World

WEATHERS = ("day", "overcast", "glare", "night")
_SHADOW_CELL = 0.15  # metres
_SHADOW_BIAS = 0.35
_HEADLIGHTS = (
    (0.8, 0.6, -1.1),
    (0.8, -0.6, -1.1),
)  # in the frame of the LiDAR, which sits on the roof


@dataclass(frozen=True)
class Light:
    """The light of one drive. Colours are linear RGB, 1 = a white sheet in full sun.

    Attributes:
        weather: one of WEATHERS. toward_sun: (3,) unit, world. sun, zenith, horizon: (3,) colours.
            haze: metres over which contrast falls to 1/e.
    """

    weather: str
    toward_sun: np.ndarray
    sun: np.ndarray
    zenith: np.ndarray
    horizon: np.ndarray
    haze: float

    @property
    def casts_shadows(self) -> bool:
        """Whether the sun is bright enough for shadows."""
        return self.weather in ("day", "glare")


def choose_light(rng: np.random.Generator, weather: str, heading: float) -> Light:
    """A Light from a Generator. `heading`: radians, where the vehicle drives to; in a glare the
    sun stands low before it.
    """
    height, azimuth = rng.uniform(28, 58), rng.uniform(0, 2 * np.pi)
    warm = rng.uniform(0.85, 1.0)
    sun, zenith, horizon, haze = (
        np.array((1.0, 0.95 * warm**0.3, 0.88 * warm)),
        np.array((0.16, 0.30, 0.58)),
        np.array((0.55, 0.66, 0.78)),
        1100.0,
    )
    if weather == "glare":
        height, azimuth = rng.uniform(7, 14), heading + rng.uniform(-0.25, 0.25)
        sun, horizon = np.array((1.0, 0.82, 0.60)), np.array((0.85, 0.75, 0.60))
    elif weather == "overcast":
        sun, zenith, horizon, haze = (
            np.full(3, 0.12),
            np.array((0.62, 0.65, 0.70)),
            np.array((0.74, 0.76, 0.78)),
            420.0,
        )
    elif weather == "night":
        sun, zenith, horizon = (
            np.array((0.002, 0.002, 0.003)),
            np.array((0.003, 0.004, 0.008)),
            np.array((0.012, 0.010, 0.010)),
        )
    elevation = np.radians(height)
    toward = np.array(
        [
            np.cos(elevation) * np.cos(azimuth),
            np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation),
        ]
    )
    return Light(weather, toward, sun, zenith, horizon, haze)


class Shadows:
    """Which places the sun reaches: the way of its rays to the first standing body, kept in a grid
    for the whole street.

    Args:
        light: Light. world: World.
    """

    def __init__(self, light: Light, world: World):
        self._rays = None
        if light.casts_shadows:
            street = world.street
            low = street.low + 35.0
            high = street.low + np.array(street.along.shape[::-1]) - 35.0
            self._rays = SunRays(
                light.toward_sun,
                low,
                high,
                _SHADOW_CELL if light.weather == "day" else 2 * _SHADOW_CELL,
                height=14.0,
            )
            self._standing = cast(self._rays, world.static, 1e4).distance

    def sunlit(self, points: np.ndarray, normals: np.ndarray, solids: Solids) -> np.ndarray:
        """(N,) float32 in 0..1: the share of the sun that reaches places with those normals, the
        moving bodies of `solids` included.
        """
        if self._rays is None:
            return np.ones(len(points), np.float32)
        way = self._standing
        moving = np.flatnonzero((solids.velocity != 0).any(axis=1))
        if len(moving):
            part = type(solids)(
                **{name: getattr(solids, name)[moving] for name in solids.__dataclass_fields__}
            )
            way = shorten(self._rays, part, way)
        lit = np.zeros(len(points), np.float32)
        for shift in (0.0, 0.09):  # two places: edges are soft
            row, column, distance = self._rays.cells(
                points + (np.float32(0.10) * normals + np.float32(shift))
            )
            lit += way[row, column] > distance - _SHADOW_BIAS
        return lit / 2


def sky_color(light: Light, directions: np.ndarray) -> np.ndarray:
    """(N, 3) float32: what rays see that hit nothing: gradient, clouds, the sun."""
    up = np.clip(directions[:, 2:], 0.0, 1.0)
    color = light.horizon.astype(np.float32) + (light.zenith - light.horizon).astype(np.float32) * (
        1 - (1 - up) ** 3
    )
    if light.weather in ("day", "glare"):
        scale = 2.0 / (up[:, 0] + 0.12)
        x, y = directions[:, 0] * scale, directions[:, 1] * scale
        cloud = (
            0.6 * smooth_noise(x * 0.5 + 7, y * 0.5, 91)
            + 0.3 * smooth_noise(x * 1.3, y * 1.3, 92)
            + 0.1 * smooth_noise(x * 3.7, y * 3.7, 93)
        )
        share = np.clip((cloud - 0.56) * 4, 0, 0.85)[:, None]
        color = color * (1 - share) + share * np.float32(0.9)
    toward = directions @ light.toward_sun.astype(np.float32)
    if light.weather in ("day", "glare"):
        glow = 6 * np.exp((toward - 1) * 900) + 0.35 * np.exp((toward - 1) * 25)
        color = color + glow[:, None] * light.sun.astype(np.float32)
    return color.astype(np.float32)


def shade(
    surfaces: Surfaces,
    albedo: np.ndarray,
    gloss: np.ndarray,
    glow: np.ndarray,
    light: Light,
    sunlit: np.ndarray,
    lamps: np.ndarray,
    world_from_lidar: np.ndarray,
) -> np.ndarray:
    """Light that leaves each hit towards the camera.

    Args:
        surfaces: Surfaces. albedo (N, 3), gloss, glow (N,): of `paint_surfaces`. sunlit: (N,) of
            `Shadows`.
        lamps: (L, 3) places of street lamps that burn, world. world_from_lidar: (4, 4), for the
            vehicle's own headlights at night.

    Returns:
        (N, 3) float32, linear.
    """
    normals = surfaces.normals
    facing = np.clip(normals @ light.toward_sun.astype(np.float32), 0, None) * sunlit
    up = 0.5 + 0.5 * normals[:, 2:]
    sky = (0.55 * light.zenith + 0.45 * light.horizon).astype(np.float32)
    bounce = (0.22 * light.sun * light.toward_sun[2] + 0.1 * light.horizon).astype(np.float32)
    radiance = albedo * (
        facing[:, None] * (light.sun * 1.6).astype(np.float32) + up * sky * 0.50 + (1 - up) * bounce
    )
    shiny = np.flatnonzero(gloss > 0.05)
    if len(shiny):
        radiance[shiny] += _mirror(surfaces, shiny, gloss, light, sunlit)
    if light.weather == "night":
        radiance += (
            albedo
            * _lamplight(surfaces.points, normals, lamps)[:, None]
            * np.array((1.0, 0.72, 0.42), np.float32)
        )
        radiance += albedo * _headlights(surfaces, world_from_lidar)[:, None]
        radiance += glow[:, None] * np.array((0.5, 0.34, 0.16), np.float32)
    fog = np.exp(-surfaces.distance / light.haze)[:, None]
    return radiance * fog + light.horizon.astype(np.float32) * (1 - fog)


def _mirror(surfaces, rows, gloss, light, sunlit):
    """What glossy hits mirror: the sky above, dark ground below, a gleam of the sun."""
    normals, directions = surfaces.normals[rows], surfaces.directions[rows]
    back = directions - 2 * (normals * directions).sum(axis=1, keepdims=True) * normals
    schlick = 0.05 + 0.95 * (1 - np.clip(surfaces.cosine[rows], 0, 1)) ** 5
    sky = sky_color(light, back)
    low = np.array((0.10, 0.10, 0.09), np.float32) * float(light.horizon.mean())
    seen = np.where(
        back[:, 2:] > 0.04 + 0.12 * smooth_noise(back[:, 0] * 9, back[:, 1] * 9, 95)[:, None],
        sky,
        low,
    )
    gleam = np.exp((back @ light.toward_sun.astype(np.float32) - 1) * 250) * sunlit[rows] * 2
    return gloss[rows, None] * (
        schlick[:, None] * 1.6 * seen
        + schlick[:, None] * gleam[:, None] * light.sun.astype(np.float32)
    )


def _lamplight(points, normals, lamps):
    total = np.full(len(points), 0.01, np.float32)
    for lamp in lamps:
        way = lamp.astype(np.float32) - points
        square = (way * way).sum(axis=1)
        total += (
            np.clip((way * normals).sum(axis=1), 0, None) / np.sqrt(square) * (2.2 / (square + 4))
        )
    return total


def _headlights(surfaces, world_from_lidar):
    total = np.zeros(len(surfaces.points), np.float32)
    forward = world_from_lidar[:3, 0].astype(np.float32) - (0, 0, np.float32(0.04))
    for place in _HEADLIGHTS:
        way = surfaces.points - (world_from_lidar[:3, :3] @ place + world_from_lidar[:3, 3]).astype(
            np.float32
        )
        distance = np.sqrt((way * way).sum(axis=1)) + 1e-3
        along = (way @ forward) / distance
        total += (
            np.exp((along - 1) * 14)
            * (along > 0)
            * 14
            / (distance**1.6 + 6)
            * np.clip(-(way * surfaces.normals).sum(axis=1) / distance + 0.15, 0, 1)
        )
    return total


def develop(radiance: np.ndarray, weather: str, rng: np.random.Generator) -> np.ndarray:
    """What a camera makes of light: exposure, lens flare, vignette, noise, tone curve.

    Args:
        radiance: (H, W, 3) float32, linear. weather: sets how much the exposure lifts. rng:
            Generator of this picture.

    Returns:
        (H, W, 3) uint8.
    """
    height, width = radiance.shape[:2]
    if weather == "glare":
        radiance = radiance + _veil(radiance)
    target, limit = (0.10, 40.0) if weather == "night" else (0.20, 3.0)
    middle = float(np.median(radiance[height // 3 :].mean(axis=2)))
    gain = np.float32(np.clip(target / max(middle, 1e-4), 0.5, limit) * rng.uniform(0.85, 1.15))
    v, u = (
        np.linspace(-1, 1, height, dtype=np.float32)[:, None],
        np.linspace(-1, 1, width, dtype=np.float32)[None, :],
    )
    exposed = radiance * (gain * (1 - 0.12 * (u * u + v * v)))[..., None]
    grain = rng.standard_normal(exposed.shape, dtype=np.float32)
    read, shot = (0.012, 0.03) if weather == "night" else (0.003, 0.014)
    exposed = exposed + grain * (read + shot * np.sqrt(np.clip(exposed, 0, 1)))
    exposed = np.clip(exposed, 0, None)
    curve = exposed * (1 + exposed * 0.2) / (0.9 + 0.5 * exposed)  # a shoulder for the highlights
    tone = np.power(np.minimum(curve, 1), np.float32(1 / 2.2))
    tone += 0.35 * tone * (1 - tone) * (2 * tone - 1)  # more contrast in the middle
    return np.clip(255 * tone + 0.5, 0, 255).astype(np.uint8)


def _veil(radiance):
    """Light of very bright pixels, spread over the picture by lens and windscreen."""
    height, width = radiance.shape[:2]
    bright = np.clip(radiance - 1.5, 0, 6)
    weight = bright.sum(axis=2)
    if weight.sum() < 1e-3:
        return np.full((1, 1, 3), 0.01, np.float32)
    v, u = np.mgrid[:height, :width].astype(np.float32)
    at_u, at_v = (weight * u).sum() / weight.sum(), (weight * v).sum() / weight.sum()
    distance = np.hypot(u - at_u, v - at_v) / width
    halo = 0.35 * np.exp(-distance * 14) + 0.10 * np.exp(-distance * 3)
    streak = 0.12 * np.exp(-np.abs(v - at_v) / (0.01 * width)) * np.exp(-distance * 4)
    size = min(float(weight.sum()) / (0.0008 * width * height), 3.0)
    return ((halo + streak) * size)[..., None] * np.array((1.0, 0.9, 0.75), np.float32)


def lamp_places(solids: Solids, near: np.ndarray, reach: float = 45.0) -> np.ndarray:
    """(L, 3) places of the street lamps within `reach` metres of `near` (3,): the upper ends of
    the tall poles. Some lamps do not burn.
    """
    tall = np.flatnonzero((solids.raw == 80) & (solids.size[:, 2] > 1.8))
    tops = solids.world_from_local[tall, :, 3] + solids.world_from_local[tall, :, 2]
    close = np.linalg.norm(tops[:, :2] - near[:2], axis=1) < reach
    burns = hash_cells(tops[:, 0], tops[:, 1], salt=97) < 0.9
    return tops[close & burns]
