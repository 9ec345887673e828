"""What rays have hit: place, normal, class and material of each hit."""

from dataclasses import dataclass

import numpy as np

from cmdfusion_ros.data.synthetic.ground import ZONES, Ground
from cmdfusion_ros.data.synthetic.hits import local_normals
from cmdfusion_ros.data.synthetic.rays import GROUND, Hits, ImageRays, SpinRays
from cmdfusion_ros.data.synthetic.solids import Solids

_ZONE_RAW = np.array([zone.raw for zone in ZONES], np.uint16)
_ZONE_PAINT = np.array([zone.paint for zone in ZONES], np.float32)
_ZONE_REFLECTANCE = np.array([zone.reflectance for zone in ZONES], np.float32)


@dataclass(frozen=True)
class Surfaces:
    """One row a hit.

    Attributes:
        points: (N, 3) float32, world. directions: (N, 3) float32, of the rays. distance: (N,)
            float32, metres.
        normals: (N, 3) float32, unit, world, facing the ray. cosine: (N,) float32, of the angle
            between normal and ray, >= 0.
        raw, instance: (N,) uint16. part: (N,) int32, row of the Solids, or GROUND - zone.
        local, face: (N, 3) float32: place in metres from the part's middle, along its axes; normal
            along its axes. Zero on the ground.
    """

    points: np.ndarray
    directions: np.ndarray
    distance: np.ndarray
    normals: np.ndarray
    cosine: np.ndarray
    raw: np.ndarray
    instance: np.ndarray
    part: np.ndarray
    local: np.ndarray
    face: np.ndarray

    @property
    def on_ground(self) -> np.ndarray:
        """(N,) bool."""
        return self.part <= GROUND

    @property
    def zone(self) -> np.ndarray:
        """(N,) row of ZONES; 0 where not on the ground."""
        return np.maximum(GROUND - self.part, 0)

    def paint(self, solids: Solids) -> np.ndarray:
        """(N, 3) float32 albedo without patterns."""
        return np.where(
            self.on_ground[:, None], _ZONE_PAINT[self.zone], solids.paint[np.maximum(self.part, 0)]
        )

    def reflectance(self, solids: Solids) -> np.ndarray:
        """(N,) float32 LiDAR intensity at normal incidence, without patterns."""
        return np.where(
            self.on_ground,
            _ZONE_REFLECTANCE[self.zone],
            solids.reflectance[np.maximum(self.part, 0)],
        )


def labels_of(part: np.ndarray, solids: Solids) -> tuple[np.ndarray, np.ndarray]:
    """(raw, instance) uint16 arrays of rows of Solids or GROUND - zone."""
    ground, row = part <= GROUND, np.maximum(part, 0)
    raw = np.where(ground, _ZONE_RAW[np.maximum(GROUND - part, 0)], solids.raw[row])
    return raw, np.where(ground, 0, solids.instance[row]).astype(np.uint16)


def surfaces_at(
    rays: SpinRays | ImageRays,
    hits: Hits,
    solids: Solids,
    ground: Ground,
    rows: np.ndarray,
    columns: np.ndarray,
) -> Surfaces:
    """The Surfaces of rays (rows, columns: (N,)) that hit something."""
    part, distance = hits.index[rows, columns], hits.distance[rows, columns]
    directions = np.ascontiguousarray(rays.directions[:, rows, columns].T)
    away = (rays.origins(rows, columns) - rays.origin[:, None]).T.astype(
        np.float32
    ) + directions * distance[:, None]  # from the grid's own origin
    points = away + rays.origin.astype(np.float32)
    raw, instance = labels_of(part, solids)
    local, face, normals = np.zeros_like(points), np.zeros_like(points), np.zeros_like(points)
    on_ground = part <= GROUND
    if ground is not None and on_ground.any():
        zone = (GROUND - part[on_ground]).astype(np.uint8)
        normals[on_ground] = ground.normals(points[on_ground], zone, directions[on_ground])
    body = np.flatnonzero(~on_ground)
    if len(body):
        seconds = rays.seconds[columns[body]] if hasattr(rays, "seconds") else 0.0
        local[body], face[body], normals[body] = _on_solids(
            solids, part[body], away[body], rays.origin, seconds
        )
    facing = (normals * directions).sum(axis=1)
    normals = np.where(facing[:, None] > 0, -normals, normals)
    return Surfaces(
        points, directions, distance, normals, np.abs(facing), raw, instance, part, local, face
    )


def _on_solids(solids, part, away, origin, seconds):
    """Local metres, local unit normal and world unit normal at places given from `origin`, on
    parts that have moved for `seconds`.
    """
    linear = solids.local_from_world[:, :, :3]
    offset = (np.einsum("pij,j->pi", linear, origin) + solids.local_from_world[:, :, 3]).astype(
        np.float32
    )
    linear = linear.astype(np.float32)
    shift = solids.velocity[part].astype(np.float32) * np.asarray(seconds, np.float32).reshape(
        -1, 1
    )
    turn = linear[part]
    unit = np.einsum("nij,nj->ni", turn, away - shift) + offset[part]
    normals = local_normals(solids.kind[part], solids.shape[part], unit)
    size = solids.size[part]
    world = np.einsum("nji,nj->ni", turn, normals)  # normals go with the transposed inverse
    world /= np.maximum(np.linalg.norm(world, axis=1, keepdims=True), 1e-12)
    face = normals / size
    face /= np.maximum(np.linalg.norm(face, axis=1, keepdims=True), 1e-12)
    return unit * size, face, world
