"""Rays meet unit shapes, the ground and whole streets exactly where they must."""

import numpy as np
import pytest

from cmdfusion_ros.data.synthetic.ground import ASPHALT, KERB_FACE, LAWN, MARKING, SLABS, Ground
from cmdfusion_ros.data.synthetic.hits import (
    HIT,
    hit_ball,
    hit_box,
    hit_crown,
    hit_grille,
    hit_tube,
    local_normals,
)
from cmdfusion_ros.data.synthetic.rays import GROUND, SKY, ImageRays, SpinRays, SunRays, cast
from cmdfusion_ros.data.synthetic.solids import (
    BALL,
    BOX,
    CROWN,
    GRILLE,
    TUBE,
    WEDGE,
    ball,
    box,
    crown,
    disc,
    grille,
    join,
    place,
    rod,
    wedge,
)
from cmdfusion_ros.data.synthetic.solids import Material as SolidMaterial
from cmdfusion_ros.data.synthetic.street import Street
from cmdfusion_ros.geometry.transforms import rigid, yaw_rotation

GREY = SolidMaterial(50, (0.5, 0.5, 0.5))


def inside(kind, shape, p):
    """Whether points (N, 3) lie in a unit shape: the definition, not the formula of the hit."""
    x, y, z = p.T
    if kind == BOX:
        return np.abs(p).max(axis=1) < 1
    if kind == BALL:
        return (p**2).sum(axis=1) < 1
    up = (z + 1) / 2  # 0 at the lower, 1 at the upper end
    if kind == TUBE:
        return (np.hypot(x, y) < 1 + (shape[0] - 1) * up) & (np.abs(z) < 1)
    return (
        (x < 1 - shape[0] * up)
        & (-x < 1 - shape[1] * up)
        & (np.abs(y) < 1 - shape[2] * up)
        & (np.abs(z) < 1)
    )


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        (BOX, (0, 0, 0, 0)),
        (BALL, (0, 0, 0, 0)),
        (WEDGE, (0.5, 0.2, 0.3, 0)),
        (WEDGE, (0, 0, 0.99, 0)),
        (TUBE, (1, 0, 0, 0)),
        (TUBE, (0.4, 0, 0, 0)),
        (TUBE, (1.6, 0, 0, 0)),
    ],  # fmt: skip
)
def test_a_hit_is_the_first_place_inside_the_shape(kind, shape):
    rng = np.random.default_rng(0)
    o = rng.normal(size=(300, 3))
    o *= 4 / np.linalg.norm(o, axis=1, keepdims=True)
    d = rng.uniform(-1.1, 1.1, (300, 3)) - o
    t = HIT[kind](
        list(o.astype(np.float32).T),
        list(d.astype(np.float32).T),
        np.array(shape, np.float32),
        np.ones(3, np.float32),
    )
    steps = np.linspace(0, 3, 6001)
    for row in range(300):
        along = o[row] + steps[:, None] * d[row]
        there = np.flatnonzero(inside(kind, shape, along))
        if len(there):
            assert t[row] == pytest.approx(steps[there[0]], abs=6e-4)
        elif np.isfinite(t[row]):  # it may pass through a corner between two steps
            assert inside(kind, shape, (o[row] + (t[row] + 1e-4) * d[row])[None] * 0.998).any()


def test_hits_worked_out_by_hand():
    down, ahead = ([0, 0, 5.0], [0, 0, -1.0]), ([-3, 0.6, 0.0], [1.0, 0, 0])
    none = np.zeros(4, np.float32)

    def t(hit, ray, shape=none, size=(1, 1, 1)):
        return float(
            hit(
                [np.float32([v]) for v in ray[0]],
                [np.float32([v]) for v in ray[1]],
                shape,
                np.float32(size),
            )[0]
        )

    assert t(hit_box, down) == 4 and t(hit_ball, down) == 4 and t(hit_box, ahead) == 2
    assert t(hit_ball, ahead) == pytest.approx(3 - 0.8) and t(
        hit_tube, ahead, np.float32([1, 0, 0, 0])
    ) == pytest.approx(3 - 0.8)
    assert t(hit_tube, down, np.float32([1, 0.5, 0, 0])) == np.inf  # through the hole in its ends
    assert t(hit_box, ([0, 0, 0.0], [1.0, 0, 0])) == np.inf  # starts inside
    slats = np.float32([0.5, 0.5, 0, 0])  # solid for 0.25 m of every 0.5 m
    assert (
        t(hit_grille, ([0.1, -3, 0], [0, 1.0, 0]), slats) == 2
        and t(hit_grille, ([0.35, -3, 0], [0, 1.0, 0]), slats) == np.inf
    )


def test_a_crown_lets_a_part_of_the_rays_through_and_always_the_same():
    y, z = (
        values.astype(np.float32)
        for values in np.meshgrid(np.linspace(-0.9, 0.9, 80), np.linspace(-0.9, 0.9, 80))
    )
    o, d = [np.full_like(y, -5), y, z], [np.ones_like(y), np.zeros_like(y), np.zeros_like(y)]
    shape, size = np.float32([0.5, 0.1, 3, 0]), np.full(3, 2, np.float32)
    t = hit_crown(o, d, shape, size)
    covered = y**2 + z**2 < 0.9
    assert 0.5 < np.isfinite(t[covered]).mean() < 0.98
    assert not np.isfinite(t[y**2 + z**2 > 1]).any()
    assert np.array_equal(t, hit_crown(o, d, shape, size))
    radius = np.sqrt((t - 5) ** 2 + y**2 + z**2)[np.isfinite(t)]
    assert (
        np.abs(radius[:, None] - [1.0, 0.86, 0.64]).min(axis=1).max() < 1e-3
    )  # on one of its shells


def test_normals_point_out_of_the_face_that_was_hit():
    p = np.float32(
        [[1, 0.2, 0.1], [0, 0, 1], [0.95, 0, -0.9], [0, 0.6, 0.8], [0.6, 0.8, 0.3], [0.1, 0.2, -1]]
    )
    kind = np.array([BOX, BOX, WEDGE, BALL, TUBE, TUBE])
    shape = np.float32(
        [[0, 0, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]]
    )
    expected = [[1, 0, 0], [0, 0, 1], [1, 0, 0.5], [0, 0.6, 0.8], [0.6, 0.8, 0], [0, 0, -1]]
    np.testing.assert_allclose(local_normals(kind, shape, p), expected, atol=1e-6)


def some_solids():
    """One of each kind around the origin, some of them moving, some turned."""
    rng = np.random.default_rng(4)
    bodies = []
    for angle in np.arange(0, 6.3, 0.45):
        turn = yaw_rotation(angle)
        bodies += [
            place(
                [
                    box((0, 0, 1), (2, 0.5, 1), GREY),
                    wedge((0, 0, 2.5), (1, 0.5, 0.5), GREY, 0.4, 0.3, 0.2),
                ],
                rigid(turn, turn @ (8, 0, -1.7)),
            ),
            place(
                [ball((0, 0, 1), (0.4, 0.7, 0.5), GREY), rod((0, 0, 0), (0.4, 0, 3), 0.1, GREY)],
                rigid(turn, turn @ (13, 2, -1)),
                0,
                rng.normal(0, 3, 3),
            ),
            place(
                [crown((0, 0, 3), (1.5, 1.2, 1), GREY), disc((1, 0, 0.5), 0.4, 0.1, GREY, 0.6)],
                rigid(turn, turn @ (18, 0, -1.7)),
            ),
            place(
                [grille((0, 0, 1), (3, 0.02, 0.8), GREY, 0.3, 0.5, 0.1)],
                rigid(turn, turn @ (25, 0, -1.7)),
            ),
        ]
    return join(
        [
            *bodies,
            place(
                [box((0, 0, -0.6), (1.5, 0.9, 0.3), GREY), box((-40, 0, 3), (0.3, 60, 6), GREY)],
                np.eye(4),
            ),
        ]
    )


def brute_force(rays, solids):
    """Every part against every ray."""
    distance = np.full(rays.shape, 300.0, np.float32)
    for part in range(len(solids)):
        o, d = rays.local(
            solids.local_from_world[part],
            solids.velocity[part],
            slice(0, rays.shape[0]),
            slice(0, rays.shape[1]),
        )
        distance = np.minimum(
            distance, HIT[int(solids.kind[part])](o, d, solids.shape[part], solids.size[part])
        )
    return np.where(distance < 300, distance, np.inf)


def grids():
    x, y = np.meshgrid(np.linspace(-1.2, 1.2, 90), np.linspace(-0.5, 0.5, 40))
    pose = rigid(
        yaw_rotation(2.0) @ np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]), (0.3, 0.2, 0.1)
    )
    moving = SpinRays(
        rigid(yaw_rotation(0.7), (0.2, 0.1, 0)),
        np.radians(np.linspace(20, -30, 30)),
        170,
        0.1,
        (12.0, 3.0, 0.1),
        0.4,
    )
    return {
        "spin": moving,
        "image": ImageRays(pose, x, y),
        "sun": SunRays(np.array([0.6, 0, 0.8]), (-30, -30), (30, 30), 0.5),
    }


@pytest.mark.parametrize("name", ["spin", "image", "sun"])
def test_trying_parts_against_windows_only_loses_no_hit(name):
    rays, solids = grids()[name], some_solids()
    assert {BOX, WEDGE, BALL, TUBE, CROWN, GRILLE} == set(solids.kind.tolist())
    hits = cast(rays, solids, 300.0)
    expected = brute_force(rays, solids)
    assert np.isfinite(expected).mean() > 0.1
    np.testing.assert_array_equal(hits.distance, expected)
    assert ((hits.index == SKY) == np.isinf(expected)).all()


def test_a_moving_body_is_met_where_it_is_when_the_column_is_fired():
    body = place(
        [box((0, 0, 0), (0.5, 5, 5), GREY)], rigid(np.eye(3), (10.5, 0, 0)), 0, (20.0, 0, 0)
    )
    rays = SpinRays(np.eye(4), np.array([0.0]), 360, 0.1, (5.0, 0, 0))
    hits = cast(rays, body, 100.0)
    for column in (170, 180, 190):
        seconds, cosine = rays.seconds[column], rays.directions[0, 0, column]
        assert hits.distance[0, column] * cosine == pytest.approx(10 + (20 - 5) * seconds, abs=1e-4)


def flat_street(kerb=0.12):
    """A straight road 6 m wide between footways, level."""
    street = Street(np.random.default_rng(0), 20.0, 0.0)
    zones = np.full(street.zone_shape, LAWN, np.uint8)
    street.paint(zones, SLABS, (street.first, street.last), (-5, 5))
    street.paint(zones, ASPHALT, (street.first, street.last), (-3, 3))
    street.paint(zones, MARKING, (4.0, 8.0), (-0.1, 0.1))
    return Ground(street, np.zeros_like(street.along), zones, kerb)


def test_no_ray_is_lost_in_a_bumpy_lawn():
    flat = flat_street()
    bumps = np.random.default_rng(2).normal(0, 0.08, flat.street.along.shape)
    ground = Ground(flat.street, bumps, np.full_like(flat.zones, LAWN), 0.0)
    rng = np.random.default_rng(3)
    aims = np.stack([rng.uniform(2, 30, 80), rng.uniform(-9, 9, 80), np.full(80, -0.3)])
    o = np.tile(np.array([[0.0], [0.0], [1.7]], np.float32), 80)
    d = ((aims - o) / np.linalg.norm(aims - o, axis=0)).astype(np.float32)
    t, _ = ground.hit(o, d, np.full(80, 60, np.float32))
    steps = np.arange(0, 40, 0.004, dtype=np.float32)
    first = []
    for ray in range(80):
        x, y, z = o[:, ray, None] + steps * d[:, ray, None]
        first.append(steps[np.argmax(z < ground.smooth(x, y)[0])])
    x, y, z = o + t * d
    assert np.abs(z - ground.smooth(x, y)[0]).max() < 0.002
    assert (np.abs(t - first) < 0.02).mean() > 0.95  # a thin crest may be passed over
    assert (t > np.array(first) - 0.02).all()


def test_rays_meet_road_kerb_and_footway_where_geometry_says():
    ground = flat_street()
    aims = np.array(
        [[6, 0, 0], [12, -1, 0], [2, 4, 0.12], [3, 3.0, 0.06], [20, 30, 0.12], [5, 3, 0.2]]
    )
    o = np.tile(np.array([[0.0], [0.0], [2.0]], np.float32), len(aims))
    d = aims.T - o
    way = np.linalg.norm(d, axis=0)
    t, zone = ground.hit(o, (d / way).astype(np.float32), np.full(len(aims), 100, np.float32))
    assert zone.tolist()[:5] == [MARKING, ASPHALT, SLABS, KERB_FACE, LAWN]
    np.testing.assert_allclose(t[:5], way[:5], rtol=2e-4, atol=2e-3)
    beyond = (
        (2.0 - 0.12) / (2.0 - 0.2) * way[5]
    )  # passes over the kerb's edge and comes down on the footway
    assert t[5] == pytest.approx(beyond, rel=1e-3) and zone[5] == SLABS


def test_a_kerb_is_as_high_as_it_is_at_that_place():
    """Lowered on one half of the street: rays meet the footway where geometry says on both."""
    flat = flat_street()
    high = np.where(flat.street.along < 10, 0.12, 0.03)
    ground = Ground(flat.street, np.zeros_like(high), flat.zones, high)
    assert ground.height(4.0, 4.0) == pytest.approx(0.12, abs=1e-6)
    assert ground.height(15.0, 4.0) == pytest.approx(0.03, abs=1e-6)
    assert ground.height(15.0, 0.0) == pytest.approx(0.0, abs=1e-6)
    o = np.tile(np.array([[6.0], [0.0], [2.0]], np.float32), 2)
    aims = np.array([[2.0, 4.0, 0.12], [15.0, 4.0, 0.03]])
    d = aims.T - o
    way = np.linalg.norm(d, axis=0)
    t, zone = ground.hit(o, (d / way).astype(np.float32), np.full(2, 100, np.float32))
    np.testing.assert_allclose(t, way, rtol=2e-4, atol=2e-3)
    assert zone.tolist() == [SLABS, SLABS]


def test_a_hit_on_hilly_ground_lies_on_the_surface_and_nothing_is_before_it():
    rng = np.random.default_rng(3)
    street = Street(rng, 40.0, 1 / 80)
    height = 0.4 * np.sin(street.along / 15) + 0.1 * np.maximum(street.across - 4, 0)
    ground = Ground(street, height, np.full(street.zone_shape, ASPHALT, np.uint8), 0.1)
    d = rng.normal(size=(3, 400)) * [[1], [1], [0.12]] - [[0], [0], [0.08]]
    d = (d / np.linalg.norm(d, axis=0)).astype(np.float32)
    o = np.tile(np.array([[1.0], [2.0], [2.2]], np.float32), 400)
    t, _ = ground.hit(o, d, np.full(400, 60, np.float32))
    found = np.isfinite(t)
    assert found.mean() > 0.6
    x, y, z = o + np.where(found, t, 0) * d
    np.testing.assert_allclose(z[found], ground.smooth(x, y)[0][found], atol=3e-3)
    for share in np.linspace(0.02, 0.97, 60):
        x, y, z = o + share * np.where(found, t, 0) * d
        assert (
            (z - ground.smooth(x, y)[0])[found] > -0.02
        ).mean() > 0.99  # first hits, but for the flattest of rays over a crest


def test_the_ground_is_hidden_by_bodies_and_hides_what_is_under_it():
    solids = place(
        [box((10, 0, 0.5), (0.5, 2, 0.5), GREY), box((5, 0, -3), (3, 3, 1), GREY)], np.eye(4)
    )
    rays = SpinRays(rigid(np.eye(3), (0, 0, 2.0)), np.radians(np.array([-7.0, -10.0, -30.0])), 360)
    hits = cast(rays, solids, 80.0, flat_street())
    assert hits.index[:, 180].tolist() == [GROUND - ASPHALT if row else 0 for row in (0, 0, 1)]
    assert (hits.index != 1).all()


def test_road_coordinates_and_points_are_inverse():
    street = Street(np.random.default_rng(8), 60.0, 1 / 60)
    ground = Ground(street, np.zeros_like(street.along), np.zeros(street.zone_shape, np.uint8), 0.1)
    along, across = np.random.default_rng(1).uniform([-50, -15], [90, 15], (500, 2)).T
    x, y = street.point(along, across)
    back = ground.road_coordinates(x, y)
    np.testing.assert_allclose(back[0], along, atol=0.08)
    np.testing.assert_allclose(back[1], across, atol=0.03)
