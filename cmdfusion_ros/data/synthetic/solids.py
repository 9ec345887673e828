"""What bodies are made of: unit shapes, each stretched and placed by an affine transform, with a
material.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

# Kinds of unit shape. All fill [-1, 1] on each axis.
BOX = 0  # a cube
# a cube whose top is pulled in: shape = (front, rear, sides, 0), the share of the half length by
# which each upper edge moves inwards
WEDGE = 1
BALL = 2
# around z; shape = (radius of the upper end, radius of the hole in its ends, 0, 0); the lower end
# has radius 1
TUBE = 3
# leaves in a ball: nested shells with holes; shape = (share of leaves, edge of a clump in metres,
# salt, 0)
CROWN = 4
# a thin cube with holes: shape = (period in metres, share that is solid, height of a rail in
# metres, 0); period along x
GRILLE = 5

# Looks of a surface, see looks.py.
(
    PLAIN,
    FACADE,
    ROOF,
    LEAVES,
    BARK,
    CAR_BODY,
    CAR_CABIN,
    WHEEL,
    LIVERY,
    SIGN,
    BOARDS,
    CLOTH,
    GLASS,
    BLOSSOM,
) = range(14)


@dataclass(frozen=True)
class Material:
    """How a surface looks and reflects.

    Attributes:
        raw: raw SemanticKITTI id.
        paint: (red, green, blue) albedo in 0..1.
        look: pattern on it, one of the constants above.
        reflectance: LiDAR intensity at normal incidence, 0..1.
        gloss: 0..1; glossy surfaces mirror the sky in images and lose LiDAR returns.
    """

    raw: int
    paint: tuple
    look: int = PLAIN
    reflectance: float = 0.3
    gloss: float = 0.0


@dataclass(frozen=True)
class Solid:
    """One unit shape of a body, in the body's frame (x forward, y left, z up, origin on the
    ground).

    Attributes:
        kind, shape: see the constants above. centre, half: (3,) metres. material: Material.
        rotation: (3, 3) body_from_part, None for none.
    """

    kind: int
    centre: tuple
    half: tuple
    material: Material
    shape: tuple = (0.0, 0.0, 0.0, 0.0)
    rotation: np.ndarray | None = None


@dataclass(frozen=True)
class Solids:
    """All parts of all bodies at one moment, as arrays with a row a part.

    Attributes:
        kind: (P,) uint8. shape: (P, 4) float32. size: (P, 3) float32, half edges in metres.
        world_from_local: (P, 3, 4) float64; local coordinates are those of the unit shape.
            local_from_world: its inverse.
        velocity: (P, 3) float64, m/s, in the world.
        raw, instance: (P,) uint16. paint: (P, 3) float32. look: (P,) uint8. reflectance, gloss:
            (P,) float32.
    """

    kind: np.ndarray
    shape: np.ndarray
    size: np.ndarray
    world_from_local: np.ndarray
    local_from_world: np.ndarray
    velocity: np.ndarray
    raw: np.ndarray
    instance: np.ndarray
    paint: np.ndarray
    look: np.ndarray
    reflectance: np.ndarray
    gloss: np.ndarray

    def __len__(self) -> int:
        return len(self.kind)

    def corners(self) -> np.ndarray:
        """(P, 8, 3) float64: the corners of the box around each part, world."""
        unit = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float64)
        return (
            np.einsum("pij,kj->pki", self.world_from_local[:, :, :3], unit)
            + self.world_from_local[:, None, :, 3]
        )


def place(
    body: list[Solid],
    world_from_body: np.ndarray,
    instance: int = 0,
    velocity: ArrayLike = (0.0, 0.0, 0.0),
) -> Solids:
    """A body (list of Parts) at a pose -> Solids."""
    count = len(body)
    local = np.zeros((count, 3, 4))
    half = np.array([part.half for part in body], np.float64).reshape(count, 3)
    for row, part in enumerate(body):
        local[row, :, :3] = (np.eye(3) if part.rotation is None else part.rotation) * half[row]
        local[row, :, 3] = part.centre
    world_from_local = np.einsum("ij,pjk->pik", world_from_body[:3, :3], local)
    world_from_local[:, :, 3] += world_from_body[:3, 3]
    materials = [part.material for part in body]
    return Solids(
        kind=np.array([part.kind for part in body], np.uint8),
        shape=np.array([part.shape for part in body], np.float32).reshape(count, 4),
        size=half.astype(np.float32),
        world_from_local=world_from_local,
        local_from_world=invert_affine(world_from_local),
        velocity=np.tile(np.asarray(velocity, np.float64), (count, 1)),
        raw=np.array([material.raw for material in materials], np.uint16),
        instance=np.full(count, instance, np.uint16),
        paint=np.array([material.paint for material in materials], np.float32).reshape(count, 3),
        look=np.array([material.look for material in materials], np.uint8),
        reflectance=np.array([material.reflectance for material in materials], np.float32),
        gloss=np.array([material.gloss for material in materials], np.float32),
    )


def invert_affine(transforms: np.ndarray) -> np.ndarray:
    """(P, 3, 4) -> (P, 3, 4), the inverses."""
    linear = np.linalg.inv(transforms[:, :, :3])
    return np.concatenate((linear, -linear @ transforms[:, :, 3:]), axis=2)


def join(groups: Sequence[Solids]) -> Solids:
    """Several Solids -> one."""
    groups = [group for group in groups if len(group)] or groups[:1]
    names = Solids.__dataclass_fields__
    return Solids(
        **{name: np.concatenate([getattr(group, name) for group in groups]) for name in names}
    )


def moved(solids: Solids, seconds: float) -> Solids:
    """The Solids after so many seconds of straight motion at their velocities."""
    world_from_local = solids.world_from_local.copy()
    world_from_local[:, :, 3] += solids.velocity * seconds
    return replace(
        solids, world_from_local=world_from_local, local_from_world=invert_affine(world_from_local)
    )


def box(
    centre: ArrayLike, half: ArrayLike, material: Material, rotation: np.ndarray | None = None
) -> Solid:
    return Solid(BOX, centre, half, material, rotation=rotation)


def wedge(
    centre: ArrayLike,
    half: ArrayLike,
    material: Material,
    front: float = 0.0,
    rear: float = 0.0,
    sides: float = 0.0,
    rotation: np.ndarray | None = None,
) -> Solid:
    return Solid(WEDGE, centre, half, material, (front, rear, sides, 0.0), rotation)


def ball(
    centre: ArrayLike, half: ArrayLike, material: Material, rotation: np.ndarray | None = None
) -> Solid:
    return Solid(BALL, centre, half, material, rotation=rotation)


def _cross(a, b):
    """The cross product of two vectors; np.cross took a fifth of the time to make a street."""
    (ax, ay, az), (bx, by, bz) = a, b
    return np.array((ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx))


def rod(
    start: ArrayLike,
    end: ArrayLike,
    radius: float,
    material: Material,
    end_radius: float | None = None,
    flat: float = 1.0,
) -> Solid:
    """A TUBE from `start` to `end` (3,) metres; `end_radius` None for the same; `flat` squeezes
    its second axis.
    """
    start, end = np.asarray(start, float), np.asarray(end, float)
    along = end - start
    length = np.linalg.norm(along)
    z = along / length
    side = _cross((0.0, 1.0, 0.0) if abs(z[1]) < 0.9 else (1.0, 0.0, 0.0), z)
    side /= np.linalg.norm(side)
    rotation = np.stack([side, _cross(z, side), z], axis=1)
    taper = 1.0 if end_radius is None else end_radius / radius
    return Solid(
        TUBE,
        tuple((start + end) / 2),
        (radius, radius * flat, length / 2),
        material,
        (taper, 0.0, 0.0, 0.0),
        rotation,
    )


def disc(
    centre: ArrayLike, radius: float, half_width: float, material: Material, hole: float = 0.0
) -> Solid:
    """A wheel: a TUBE whose axis is y. `hole` is the share of the radius that one can look
    through.
    """
    rotation = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    return Solid(
        TUBE, centre, (radius, radius, half_width), material, (1.0, hole, 0.0, 0.0), rotation
    )


def crown(
    centre: ArrayLike,
    half: ArrayLike,
    material: Material,
    leaves: float = 0.5,
    clump: float = 0.14,
    salt: int = 0,
) -> Solid:
    return Solid(CROWN, centre, half, material, (leaves, clump, salt, 0.0))


def grille(
    centre: ArrayLike,
    half: ArrayLike,
    material: Material,
    period: float,
    solid: float,
    rail: float = 0.0,
    rotation: np.ndarray | None = None,
) -> Solid:
    return Solid(GRILLE, centre, half, material, (period, solid, rail, 0.0), rotation)
