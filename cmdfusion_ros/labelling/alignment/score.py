"""How well the edges of clouds lie on the edges of one camera's images, for any correction."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from cmdfusion_ros.frame import Distortion
from cmdfusion_ros.geometry.projection import MIN_DEPTH, distort
from cmdfusion_ros.labelling.alignment.edges import CloudEdges, cloud_edges, image_edges

WIDEST = 960  # pixels of the images that are looked at
_QUARTER_PIXELS = 4.0  # distances are kept in quarters of pixels, 8 bits
_MOST = (1500, 1500, 1500)  # upright, bright and plain points of a scan around the view
_ELSEWHERE = 1500  # of each kind in the rest of the scan
_AROUND_DEG = 12.0  # beyond the corner of the image
_SECTORS = 4  # of the field of view, which with the scans make the blocks
UPRIGHT, BRIGHT = 0, 1  # the two cues


@dataclass(frozen=True, eq=False)
class Look:
    """One scan and the image of one camera that goes with it.

    Attributes:
        points: (N, 3) float32, metres, at the cloud's stamp. origin: (3,) where the LiDAR is in
            their axes.
        intensity: (N,) float32.
        image: (H, W, 3) uint8 RGB.
        camera_from_lidar: (4, 4) float64, from there to the optical frame at the image's stamp.
        velocity: (3,) m/s and turning: (3,) rad/s of the LiDAR in its own axes about the image's
            stamp; None where that is not known.
        edges: of the cloud, where they are known already.
    """

    points: np.ndarray
    intensity: np.ndarray
    image: np.ndarray
    camera_from_lidar: np.ndarray
    velocity: np.ndarray | None = None
    turning: np.ndarray | None = None
    origin: np.ndarray = field(default_factory=lambda: np.zeros(3))
    edges: CloudEdges | None = None


@dataclass(frozen=True)
class Correction:
    """What would be changed of a camera: (3,) degrees about its optical axes (x right, y down, z
    ahead), (3,) metres along them, seconds that images were taken after their stamps said, and a
    rotation before all that, (3, 3), or None.
    """

    turn: tuple[float, float, float] = (0.0, 0.0, 0.0)
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    late: float = 0.0
    axes: tuple[tuple[float, ...], ...] | None = None


def speeds(step: np.ndarray, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """(3,) m/s and (3,) rad/s of what moves by the (4, 4) `step` in so many seconds."""
    return step[:3, 3] / seconds, np.asarray(cv2.Rodrigues(step[:3, :3])[0])[:, 0] / seconds


class Scene:
    """Looks of one camera, made ready for many scores.

    Args:
        looks: at least one, with images of one size. intrinsic: (3, 3), of them. distortion: lens
            or None.
    """

    def __init__(
        self, looks: Sequence[Look], intrinsic: np.ndarray, distortion: Distortion | None
    ) -> None:
        height, width = looks[0].image.shape[:2]
        scale = min(1.0, WIDEST / width)
        size = round(width * scale), round(height * scale)
        self.size, self._distortion = size, distortion
        self._intrinsic = intrinsic.copy()
        self._intrinsic[0] *= size[0] / width
        self._intrinsic[1] *= size[1] / height
        self.degrees_per_pixel = np.degrees(1.0 / abs(self._intrinsic[0, 0]))
        self._maps = np.empty((2, len(looks), size[1], size[0]), np.uint8)
        corner = np.hypot(*size) / 2 / abs(self._intrinsic[0, 0])
        reach = np.arctan(corner) + np.radians(_AROUND_DEG)
        parts: list[tuple[np.ndarray, ...]] = []
        self.speed = np.zeros(len(looks))
        self.moves = all(look.velocity is not None for look in looks)
        rng = np.random.default_rng(0)
        for number, look in enumerate(looks):
            image = cv2.resize(look.image, size, interpolation=cv2.INTER_AREA)
            for cue, distance in enumerate(image_edges(image)):
                self._maps[cue, number] = np.minimum(distance * _QUARTER_PIXELS, 255)
            edges = look.edges or cloud_edges(
                look.points - look.origin.astype(np.float32), look.intensity
            )
            velocity = np.zeros(3) if look.velocity is None else look.velocity
            turning = np.zeros(3) if look.turning is None else look.turning
            self.speed[number] = np.linalg.norm(velocity)
            for kind, rows in enumerate((edges.upright, edges.bright, edges.plain)):
                points = look.points[rows].astype(np.float64)
                # in the camera's axes: all corrections are made there
                rotation = look.camera_from_lidar[:3, :3]
                placed = points @ rotation.T + look.camera_from_lidar[:3, 3]
                drift = -(velocity + np.cross(turning, points)) @ rotation.T
                near = np.arctan2(np.hypot(*placed[:, :2].T), placed[:, 2]) < reach
                kept = _some(np.flatnonzero(near), _MOST[kind], rng)
                kept = np.r_[kept, _some(np.flatnonzero(~near), _ELSEWHERE, rng)]
                size_of = len(kept)
                parts.append(
                    (
                        placed[kept].astype(np.float32),
                        drift[kept].astype(np.float32),
                        np.full(size_of, number),
                        np.full(size_of, kind),
                        near[kept],
                    )
                )
        self._points, self._drift, self._scan, self._kind, near = map(
            np.concatenate, zip(*parts, strict=True)
        )
        self._in_reach = np.flatnonzero(near)
        self.num_in_reach, self.num_scans = len(self._in_reach), len(looks)
        # the rest is for corrections that turn the camera elsewhere, which look coarsely
        self._everywhere = np.arange(0, len(self._points), 2)
        # blocks: sectors of the camera's view in which the points lie as they are
        self._block = self._scan * _SECTORS + self._sector(self._points)
        self.num_blocks = self.num_scans * _SECTORS

    def _sector(self, placed: np.ndarray) -> np.ndarray:
        angle = np.arctan2(placed[:, 0], placed[:, 2])
        half = np.arctan(self.size[0] / 2 / abs(self._intrinsic[0, 0]))
        share = (angle + half) / (2 * half)
        return (share * _SECTORS).astype(np.int64).clip(0, _SECTORS - 1)

    def closeness(self, correction: Correction, sigma: float, every: int = 1) -> "Closeness":
        """Score of a correction; `sigma` degrees away from an edge counts as 1/e of on it."""
        chosen = self._in_reach if correction.axes is None else self._everywhere
        moved = self._points[chosen[::every]]
        if correction.late:
            moved = moved + np.float32(correction.late) * self._drift[chosen[::every]]
        if correction.axes is not None:
            moved = moved @ np.array(correction.axes, np.float32).T
        turn = cv2.Rodrigues(np.radians(np.array(correction.turn)))[0].astype(np.float32)
        moved = moved @ turn.T + np.array(correction.shift, np.float32)
        ahead = np.flatnonzero(moved[:, 2] > MIN_DEPTH)
        x, y, z = moved[ahead].T
        (x, y), valid = distort(x / z, y / z, self._distortion)
        u = np.rint(self._intrinsic[0, 0] * x + self._intrinsic[0, 1] * y + self._intrinsic[0, 2])
        v = np.rint(self._intrinsic[1, 1] * y + self._intrinsic[1, 2])
        inside = valid & (u >= 0) & (u < self.size[0]) & (v >= 0) & (v < self.size[1])
        rows = chosen[::every][ahead[inside]]
        u, v = u[inside].astype(np.int64), v[inside].astype(np.int64)
        kind, block = self._kind[rows], self._block[rows]
        table = np.exp(-np.arange(256) / _QUARTER_PIXELS * self.degrees_per_pixel / sigma).astype(
            np.float32
        )
        near = table[self._maps[:, self._scan[rows], v, u]]  # (2, M)
        sums, counts = np.zeros((2, 2, self.num_blocks)), np.zeros((2, 2, self.num_blocks))
        plain = kind == 2
        for cue in (UPRIGHT, BRIGHT):
            for place, those in enumerate((kind == cue, plain)):
                sums[cue, place] = np.bincount(
                    block[those], near[cue, those], minlength=self.num_blocks
                )
                counts[cue, place] = np.bincount(block[those], minlength=self.num_blocks)
        return Closeness(sums, counts)


@dataclass(frozen=True, eq=False)
class Closeness:
    """sums, counts: (cue, edge or plain, block) of the nearness of points to edges in 0 to 1."""

    sums: np.ndarray
    counts: np.ndarray

    def cue(self, cue: int) -> float:
        edge, plain = self.sums[cue].sum(axis=1) / np.maximum(self.counts[cue].sum(axis=1), 1)
        return float(edge - plain)

    def score(self) -> float:
        return self.cue(UPRIGHT) + self.cue(BRIGHT)

    def without_each_block(self) -> np.ndarray:
        """(B,) the score without one block each."""
        sums = self.sums.sum(axis=2, keepdims=True) - self.sums
        counts = np.maximum(self.counts.sum(axis=2, keepdims=True) - self.counts, 1)
        return np.einsum("cpb,p->b", sums / counts, np.array((1.0, -1.0)))

    def score_where(self, edges: int) -> float:
        """The score; -1 where the images show fewer points at edges than that."""
        return self.score() if self.edges >= edges else -1.0

    def deviations(self) -> float:
        """By how many standard deviations the score is above 0: a jackknife over the blocks."""
        return self.score() / spread(self.without_each_block()[self.counts.sum(axis=(0, 1)) > 0])

    @property
    def edges(self) -> int:
        """How many points at edges the images show."""
        return int(self.counts[:, 0].sum())


def spread(without: np.ndarray) -> float:
    """Standard deviation of a figure by its values without one block each."""
    if len(without) < 2:
        return float("inf")
    number = len(without)
    apart = np.square(without - without.mean()).sum()
    return max(float(np.sqrt((number - 1) / number * apart)), 1e-9)


def _some(rows: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    return rows if len(rows) <= most else np.sort(rng.choice(rows, most, replace=False))
