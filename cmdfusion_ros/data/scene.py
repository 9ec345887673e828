"""A simple made-up street, ray-cast: LiDAR scans with exact labels and camera images that fit them. For demos and tests without data.

The street runs along x. Everything is a box whose edges are parallel to the axes, a ball, or the ground, so a ray's first hit has a closed form.
"""

from dataclasses import dataclass

import numpy as np

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.frame import CameraView, Frame
from cmdfusion_ros.geometry.transforms import invert, rigid, yaw_rotation

SENSOR_HEIGHT = 1.8  # metres above the road
SPEED = 5.0  # m/s, of the vehicle that carries the sensors
SCAN_PERIOD_NS = 100_000_000
START_NS = 1_700_000_000_000_000_000
_MAX_RANGE = 90.0
_ROAD, _KERB, _WALK = 4.5, 0.14, 7.5  # half width of the road, height of the sidewalk, distance of its outer edge from the middle
_OPTICAL = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])  # optical_from_body: x right, y down, z forward
# Yaw in degrees, and place in the LiDAR frame.
_CAMERAS = {"front": (0.0, (0.3, 0.0, -0.2)), "left": (90.0, (0.0, 0.3, -0.2)), "right": (-90.0, (0.0, -0.3, -0.2))}
_REFLECTANCE = {"road": 0.08, "sidewalk": 0.25, "terrain": 0.3, "vegetation": 0.35, "building": 0.4, "pole_sign": 0.7, "car": 0.3, "person": 0.4}
_PAINT = {  # RGB of the camera images; nearer to life than the colours of the labels
    "road": (78, 80, 84), "sidewalk": (150, 146, 140), "terrain": (112, 120, 70), "vegetation": (58, 98, 46), "building": (160, 118, 92),
    "pole_sign": (120, 122, 126), "car": (150, 30, 34), "large_vehicle": (222, 222, 216), "person": (48, 62, 120),
}  # fmt: skip


@dataclass(frozen=True)
class Body:
    """A box (`radius` 0) or a ball of the scene.

    Attributes:
        low, high: (3,) corners of the box in the world at time 0, metres (of a ball: of the box around it). label: of the class map `street`.
        speed: m/s along x. ball: whether it is the ball inside the box.
    """

    low: tuple
    high: tuple
    label: int
    speed: float = 0.0
    ball: bool = False


class Scene:
    """The bodies of one street, and what a ray from a place in it hits.

    Args:
        seed: of everything that is random; equal seeds give equal streets.
    """

    def __init__(self, seed=0):
        self.class_map = load_class_map("street")
        self._rng = np.random.default_rng(seed)
        self.bodies = tuple(self._houses() + self._parked_cars() + self._trees_and_poles() + self._people() + self._traffic())
        self._low = np.array([body.low for body in self.bodies])
        self._high = np.array([body.high for body in self.bodies])
        self._labels = np.array([body.label for body in self.bodies], np.uint8)
        self._speeds = np.array([body.speed for body in self.bodies])

    def _body(self, name, x, y, z, length, width, height, **kind):
        low = (x - length / 2, y - width / 2, z)
        return Body(low, (low[0] + length, low[1] + width, z + height), self.class_map.label(name), **kind)

    def _houses(self):
        """Houses in two rows, and the kerbs before them."""
        houses = [self._body("sidewalk", 0, side * (_ROAD + 0.1), 0, 400, 0.2, _KERB) for side in (-1, 1)]
        for side in (-1, 1):
            x = -80.0
            while x < 100:
                length, depth, height = self._rng.uniform(10, 22), self._rng.uniform(6, 10), self._rng.uniform(5, 14)
                setback = _WALK + self._rng.uniform(0.3, 3.0)
                houses.append(self._body("building", x + length / 2, side * (setback + depth / 2), 0, length, depth, height))
                x += length + self._rng.choice([0.0, 0.0, 4.0, 8.0])
        return houses

    def _car(self, x, y, speed=0.0):
        cabin_x = x - 0.2
        return [
            self._body("car", x, y, 0.25, 4.4, 1.8, 0.65, speed=speed),
            self._body("car", cabin_x, y, 0.9, 2.4, 1.6, 0.6, speed=speed),
            self._body("car", x + 1.4, y, 0.0, 0.65, 1.75, 0.5, speed=speed),  # the wheels
            self._body("car", x - 1.4, y, 0.0, 0.65, 1.75, 0.5, speed=speed),
        ]

    def _parked_cars(self):
        cars = []
        for side in (-1, 1):
            for x in np.arange(-60, 85, 7.0):
                if self._rng.random() < 0.55:
                    cars += self._car(x + self._rng.uniform(-0.5, 0.5), side * (_ROAD - 1.1))
        return cars

    def _trees_and_poles(self):
        bodies = []
        for side in (-1, 1):
            for x in np.arange(-62, 90, 12.0):
                y, crown = side * (_ROAD + 1.0), self._rng.uniform(2.4, 3.6)
                if self._rng.random() < 0.6:
                    bodies.append(self._body("vegetation", x, y, _KERB, 0.3, 0.3, 2.4))
                    bodies.append(self._body("vegetation", x, y, 2.2, crown, crown, crown, ball=True))
                else:
                    bodies.append(self._body("pole_sign", x, y, _KERB, 0.16, 0.16, 5.0))
        return bodies

    def _people(self):
        people = []
        for x in np.arange(-30, 60, 9.0):
            side, speed = self._rng.choice([-1, 1]), self._rng.uniform(-1.4, 1.4)
            y = side * self._rng.uniform(_ROAD + 1.6, _WALK - 0.4)
            people.append(self._body("person", x, y, _KERB, 0.35, 0.5, 1.45, speed=speed))
            people.append(self._body("person", x, y, _KERB + 1.45, 0.24, 0.24, 0.27, speed=speed, ball=True))
        return people

    def _traffic(self):
        truck = [("large_vehicle", 34.0, -1.2, 0.9, 7.0, 2.4, 2.6), ("large_vehicle", 38.6, -1.2, 0.5, 2.0, 2.3, 2.0)]
        return [self._body(*parts, speed=4.0) for parts in truck] + self._car(16.0, -1.2, SPEED) + self._car(45.0, 1.6, -7.0)

    def hit(self, origin, directions, time):
        """The first hit of each ray.

        Args:
            origin: (3,) metres, world. directions: (R, 3) unit vectors, world. time: seconds since the start.

        Returns:
            distance: (R,) metres, infinity for the sky. label: (R,) uint8, 255 for the sky. normal: (R, 3), facing the ray.
        """
        directions = directions.astype(np.float32)
        distance, label, normal = self._hit_ground(origin, directions)
        low, high = self._low.copy(), self._high.copy()
        low[:, 0] += self._speeds * time
        high[:, 0] += self._speeds * time
        centres, radii = (low + high) / 2 - origin, np.linalg.norm(high - low, axis=1) / 2
        away = np.linalg.norm(centres, axis=1)
        # Rays that can touch the ball around a body: the cosine to its centre is at least that of the ball's edge.
        edge = np.where(away > radii, np.sqrt(np.maximum(1 - (radii / np.maximum(away, radii)) ** 2, 0)), -1.0)
        cosines = directions @ (centres / np.maximum(away, 1e-9)[:, None]).T.astype(np.float32)  # (R, bodies)
        for index in np.flatnonzero(away - radii < _MAX_RANGE):
            rays = np.flatnonzero(cosines[:, index] >= edge[index])
            cast = _hit_ball if self.bodies[index].ball else _hit_box
            t, facing = cast(low[index] - origin, high[index] - origin, directions[rays])
            nearer = t < distance[rays]
            rows = rays[nearer]
            distance[rows], label[rows], normal[rows] = t[nearer], self._labels[index], facing[nearer]
        beyond = distance > _MAX_RANGE
        distance[beyond], label[beyond] = np.inf, 255
        return distance, label, normal

    def _hit_ground(self, origin, directions):
        """Road in the middle, raised sidewalks, terrain behind them; the kerb's own face is left out."""
        distance = np.full(len(directions), np.inf, np.float32)
        label = np.full(len(directions), 255, np.uint8)
        down = directions[:, 2] < -1e-4
        slope = np.where(down, directions[:, 2], -1.0)
        for height, inner, outer, name in ((0.0, 0.0, _ROAD, "road"), (_KERB, _ROAD, _WALK, "sidewalk"), (0.05, _WALK, 200.0, "terrain")):
            t = (height - origin[2]) / slope
            y = np.abs(origin[1] + t * directions[:, 1])
            here = down & (y >= inner) & (y < outer) & (t > 0) & (t < distance)
            distance[here], label[here] = t[here], self.class_map.label(name)
        normal = np.zeros_like(directions)
        normal[:, 2] = 1
        return distance, label, normal

    def lidar_pose(self, time):
        """world_from_lidar at `time` seconds."""
        return rigid(np.eye(3), (SPEED * time, 0.4, SENSOR_HEIGHT))

    def scan(self, time, beams=64, columns=900):
        """One scan without motion in it.

        Returns:
            points (N, 3) float32 in the LiDAR frame, intensity (N,) float32, labels (N,) uint8.
        """
        low, high = beams // 3, beams // 6  # dense near the horizon, as real ones are
        parts = (np.linspace(-25, -7, low), np.linspace(-6.5, 3, beams - low - high), np.linspace(3.5, 15, high))
        elevation = np.radians(np.concatenate(parts))
        azimuth = np.linspace(np.pi, -np.pi, columns, endpoint=False)
        e, a = np.meshgrid(elevation, azimuth, indexing="ij")
        directions = np.stack([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)], axis=-1).reshape(-1, 3)
        distance, label, normal = self.hit(self.lidar_pose(time)[:3, 3], directions, time)
        kept = np.isfinite(distance) & (self._rng.random(len(distance)) > 0.02)  # every fiftieth return is lost
        distance = distance[kept] + self._rng.normal(0, 0.015, kept.sum())
        facing = np.abs((normal[kept] * directions[kept]).sum(axis=1))
        base = np.array([_REFLECTANCE.get(name, 0.3) for name in self.class_map.names])[label[kept]]
        intensity = base * (0.5 + 0.5 * facing) + self._rng.normal(0, 0.02, kept.sum())
        return (directions[kept] * distance[:, None]).astype(np.float32), intensity.clip(0, 1).astype(np.float32), label[kept]

    def photograph(self, camera, time, size=(384, 216)):
        """A CameraView of one of the cameras front, left, right at `time` seconds, `size` (width, height) pixels."""
        width, height = size
        yaw, place = _CAMERAS[camera]
        lidar_from_camera = rigid(yaw_rotation(np.radians(yaw)) @ _OPTICAL.T, place)
        focal = 0.55 * width
        intrinsic = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1.0]])
        v, u = np.mgrid[:height, :width].reshape(2, -1)
        rays = np.stack([(u - intrinsic[0, 2]) / focal, (v - intrinsic[1, 2]) / focal, np.ones(u.size)], axis=1)
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        world_from_camera = self.lidar_pose(time) @ lidar_from_camera
        directions = rays @ world_from_camera[:3, :3].T
        distance, label, normal = self.hit(world_from_camera[:3, 3], directions, time)
        image = _shade(world_from_camera[:3, 3], directions, distance, label, normal, self.class_map).reshape(height, width, 3)
        return CameraView(camera, image, intrinsic, invert(lidar_from_camera), None, START_NS + round(time * 1e9))

    def frames(self, count, cameras=("front", "left", "right")):
        """`count` Frames 0.1 s apart, with labels, poses and camera views, all of one moment each. A generator: images are large."""
        for index in range(count):
            time = index * SCAN_PERIOD_NS / 1e9
            points, intensity, labels = self.scan(time)
            views = tuple(self.photograph(camera, time) for camera in cameras)
            stamp = START_NS + index * SCAN_PERIOD_NS
            yield Frame(points, intensity, stamp, "lidar", views, labels, world_from_lidar=self.lidar_pose(time), name=f"scene/{index:06d}")


def _hit_box(low, high, directions):
    """Distance (R,) to a box relative to the ray origin, infinity where it is missed, and the normal (R, 3) of the face that was hit."""
    with np.errstate(divide="ignore", invalid="ignore"):
        first, second = low / directions, high / directions
    near, far = np.minimum(first, second), np.maximum(first, second)
    enter, leave = np.nanmax(near, axis=1), np.nanmin(far, axis=1)
    t = np.where((enter <= leave) & (enter > 0.05), enter, np.inf)
    normal = np.zeros_like(directions)
    axis = np.nanargmax(near, axis=1)
    rows = np.arange(len(directions))
    normal[rows, axis] = -np.sign(directions[rows, axis])
    return t, normal


def _hit_ball(low, high, directions):
    """As `_hit_box`, for the ball inside the box."""
    centre, radius = (low + high) / 2, (high[0] - low[0]) / 2
    along = directions @ centre
    inside = radius**2 - (centre @ centre - along**2)
    t = np.where(inside > 0, along - np.sqrt(np.maximum(inside, 0)), np.inf)
    t[t < 0.05] = np.inf
    with np.errstate(invalid="ignore"):
        normal = np.where(np.isfinite(t)[:, None], (directions * t[:, None] - centre) / radius, 0)
    return t, normal


def _shade(origin, directions, distance, label, normal, class_map):
    """(R, 3) uint8: paint, sunlight, a tile pattern fixed to the world, haze, and the sky."""
    sky = np.array([150, 180, 215]) + np.clip(directions[:, 2:], 0, 1) * np.array([-70, -50, 10])
    paint = np.zeros((256, 3))
    paint[: class_map.num_classes] = [_PAINT.get(name, (128, 128, 128)) for name in class_map.names]
    hit = np.isfinite(distance)
    near = np.where(hit, distance, 0.0)
    places = origin + directions * near[:, None]
    tiles = (np.floor(places / 1.5 + 1e-3).astype(np.int64).sum(axis=1) % 2) * 0.08 + 0.92
    light = 0.55 + 0.45 * np.clip(normal @ np.array([0.35, 0.45, 0.82]), 0, 1)
    haze = np.exp(-near / 150)[:, None]
    color = paint[label] * (light * tiles)[:, None] * haze + np.array([170, 185, 205]) * (1 - haze)
    return np.where(hit[:, None], color, sky).clip(0, 255).astype(np.uint8)
