"""The simple made-up street: rays hit what they must, labels and images fit."""

import numpy as np
import pytest

from cmdfusion_ros.data.scene import SENSOR_HEIGHT, Body, Scene
from cmdfusion_ros.geometry.projection import project_points


def street_of(*bodies):
    """A scene with these bodies only."""
    scene = Scene(0)
    scene.bodies = bodies
    scene._low, scene._high = np.array([b.low for b in bodies], float), np.array([b.high for b in bodies], float)
    scene._labels = np.array([b.label for b in bodies], np.uint8)
    scene._speeds = np.array([b.speed for b in bodies])
    return scene


@pytest.fixture(scope="module")
def scene():
    return Scene(0)


def test_a_ray_hits_the_near_face_of_a_box_the_ball_and_the_road():
    car, tree = 8, 3
    scene = street_of(Body((10, -1, 0), (14, 1, 2), car), Body((-12, -2, 0), (-8, 2, 4), tree, ball=True))
    rays = np.array([[1.0, 0, 0], [-1, 0, 0], [0, 0, -1], [0, 0, 1], [0.0, 1, 0]])
    distance, label, normal = scene.hit(np.array([0.0, 0.0, 1.5]), rays, 0.0)
    ball = 10 - np.sqrt(2**2 - 0.5**2)  # half a metre below its centre
    np.testing.assert_allclose(distance, [10, ball, 1.5, np.inf, np.inf], rtol=1e-5)
    assert label.tolist() == [car, tree, scene.class_map.label("road"), 255, 255]
    np.testing.assert_allclose(normal[0], (-1, 0, 0))
    np.testing.assert_allclose(normal[1], ((10 - ball) / 2, 0, -0.25), atol=1e-5)


def test_the_nearer_of_two_bodies_hides_the_other_and_moving_ones_move():
    scene = street_of(Body((10, -1, 0), (12, 1, 3), 8, speed=5.0), Body((20, -3, 0), (22, 3, 3), 4))
    ray = np.array([[1.0, 0, 0]])
    assert scene.hit(np.array([0, 0, 1.0]), ray, 0.0)[0] == pytest.approx(10)
    assert scene.hit(np.array([0, 0, 1.0]), ray, 1.0)[0] == pytest.approx(15)
    distance, label, _ = scene.hit(np.array([0, 0, 1.0]), ray, 4.0)  # it has passed through: the wall is next
    assert distance == pytest.approx(20) and label == 4


def test_culling_by_angle_loses_no_hit(scene):
    rng = np.random.default_rng(1)
    rays = rng.normal(size=(60, 3))
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    origin = scene.lidar_pose(0.0)[:3, 3]
    distance, _, _ = scene.hit(origin, rays, 0.0)
    expected = scene._hit_ground(origin, rays.astype(np.float32))[0]
    for body in scene.bodies:
        for index, ray in enumerate(rays):
            expected[index] = min(expected[index], slow_distance(body, origin, ray))
    expected[expected > 90] = np.inf
    np.testing.assert_allclose(distance, expected, rtol=1e-3)


def slow_distance(body, origin, ray):
    low, high = np.array(body.low) - origin, np.array(body.high) - origin
    if body.ball:
        centre, radius = (low + high) / 2, (high[0] - low[0]) / 2
        roots = np.roots([1, -2 * ray @ centre, centre @ centre - radius**2])
        return min((root.real for root in roots if abs(root.imag) < 1e-12 and root.real > 0.05), default=np.inf)
    faces = sorted(t for axis in range(3) for edge in (low, high) if (t := edge[axis] / ray[axis]) > 0.05)
    inside = (t for t in faces if (ray * t >= low - 1e-9).all() and (ray * t <= high + 1e-9).all())
    return next(inside, np.inf)


def test_a_scan_has_exact_labels_and_equal_seeds_give_equal_streets(scene):
    points, intensity, labels = scene.scan(0.0, beams=16, columns=180)
    road = points[labels == scene.class_map.label("road")]
    assert len(road) > 50 and np.abs(road[:, 2] + SENSOR_HEIGHT).max() < 0.1
    assert (intensity >= 0).all() and (intensity <= 1).all() and labels.max() < scene.class_map.num_classes
    assert {scene.class_map.names[label] for label in np.unique(labels)} >= {"road", "sidewalk", "building", "car"}
    again = Scene(0).scan(0.0, beams=16, columns=180)
    assert len(again[0]) == len(Scene(0).scan(0.0, beams=16, columns=180)[0]) and Scene(1).bodies != scene.bodies


def test_images_and_points_see_the_same_things(scene):
    points, _, labels = scene.scan(0.0, beams=32, columns=360)
    view = scene.photograph("front", 0.0, size=(96, 54))
    pixels, visible = project_points(points, view.intrinsic, view.camera_from_lidar, view.image_size)
    u, v = np.rint(pixels[visible]).astype(int).T
    people = labels[visible] == scene.class_map.label("vegetation")
    ground = labels[visible] == scene.class_map.label("road")
    colors = view.image[v, u].astype(int)
    assert (colors[people][:, 1] > colors[people][:, 2]).mean() > 0.9  # green
    assert (np.ptp(colors[ground], axis=1) < 30).mean() > 0.9  # grey
