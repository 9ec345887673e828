"""One picture of the street by one camera, with the class and instance of every pixel."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from cmdfusion_ros.data.synthetic.lidar import lidar_pose
from cmdfusion_ros.data.synthetic.light import (
    Light,
    Shadows,
    develop,
    lamp_places,
    shade,
    sky_color,
)
from cmdfusion_ros.data.synthetic.looks import paint_surfaces
from cmdfusion_ros.data.synthetic.rays import SKY, ImageRays, cast
from cmdfusion_ros.data.synthetic.rigs import CameraRig, Rig
from cmdfusion_ros.data.synthetic.surfaces import labels_of, surfaces_at
from cmdfusion_ros.data.synthetic.world import World
from cmdfusion_ros.frame import CameraView
from cmdfusion_ros.geometry.projection import distort
from cmdfusion_ros.geometry.transforms import invert

_REACH = 240.0  # metres


@dataclass(frozen=True)
class Photograph:
    """A picture and its truth.

    Attributes:
        view: CameraView. raw: (H, W) uint16, SemanticKITTI ids, 0 for the sky. instance_ids: (H, W)
            uint16. depth: (H, W) float32, metres along the ray, infinity for the sky.
    """

    view: CameraView
    raw: np.ndarray
    instance_ids: np.ndarray
    depth: np.ndarray


@cache
def pixel_rays(camera: CameraRig) -> tuple[np.ndarray, np.ndarray]:
    """Ideal rays (x, y) of the pixels of a CameraRig, each (H, W) float64: the lens model undone
    by Newton's method.
    """
    width, height = camera.size
    (focal, _, u0), (_, _, v0), _ = camera.intrinsic
    u, v = np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64))
    bent_x, bent_y = ((u - u0) / focal).reshape(-1), ((v - v0) / focal).reshape(-1)
    x, y = bent_x.copy(), bent_y.copy()
    if camera.distortion is not None:
        step = 1e-5
        for _ in range(12):
            (fx, fy), _ = distort(x, y, camera.distortion)
            (ax, ay), _ = distort(x + step, y, camera.distortion)
            (bx, by), _ = distort(x, y + step, camera.distortion)
            xx, yx, xy, yy = (ax - fx) / step, (ay - fy) / step, (bx - fx) / step, (by - fy) / step
            determinant = xx * yy - xy * yx
            dx, dy = bent_x - fx, bent_y - fy
            x += np.clip((yy * dx - xy * dy) / determinant, -0.5, 0.5)
            y += np.clip((xx * dy - yx * dx) / determinant, -0.5, 0.5)
    return x.reshape(height, width), y.reshape(height, width)


def photograph(
    world: World,
    rig: Rig,
    camera: CameraRig,
    light: Light,
    shadows: Shadows,
    seconds: float,
    stamp: int,
    rng: np.random.Generator,
    camera_from_lidar: np.ndarray | None = None,
) -> Photograph:
    """A Photograph at `seconds`.

    Args:
        world: World. rig: Rig. camera: CameraRig of it. light: Light. shadows: Shadows of that
            light in that world.
        seconds: when the shutter opens. stamp: int ns, what the view says of that. rng: Generator
            of this picture's noise.
        camera_from_lidar: where the camera really is; None for where the rig says. The view carries
            what the rig says.
    """
    true_pose = camera.camera_from_lidar if camera_from_lidar is None else camera_from_lidar
    world_from_lidar = lidar_pose(world, rig, seconds)
    rays = ImageRays(world_from_lidar @ invert(true_pose), *pixel_rays(camera))
    solids = world.solids(seconds)
    hits = cast(rays, solids, _REACH, world.ground)
    rows, columns = np.nonzero(hits.index != SKY)
    surfaces = surfaces_at(rays, hits, solids, world.ground, rows, columns)
    albedo, gloss, glow = paint_surfaces(surfaces, solids, world.ground)
    sunlit = shadows.sunlit(surfaces.points, surfaces.normals, solids)
    lamps = lamp_places(solids, rays.origin) if light.weather == "night" else ()
    radiance = np.zeros((*rays.shape, 3), np.float32)
    radiance[rows, columns] = shade(
        surfaces, albedo, gloss, glow, light, sunlit, lamps, world_from_lidar
    )
    empty = np.nonzero(hits.index == SKY)
    radiance[empty] = sky_color(light, rays.directions[:, empty[0], empty[1]].T)
    raw, instance_ids = labels_of(hits.index, solids)
    sky = hits.index == SKY
    raw[sky], instance_ids[sky] = 0, 0
    view = CameraView(
        camera.name,
        develop(radiance, light.weather, rng),
        camera.intrinsic,
        camera.camera_from_lidar,
        camera.distortion,
        stamp,
    )
    return Photograph(view, raw.astype(np.uint16), instance_ids, hits.distance)
