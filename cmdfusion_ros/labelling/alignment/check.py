"""Whether a camera sits and ticks as its transform and its stamps say."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cmdfusion_ros.frame import Distortion
from cmdfusion_ros.labelling.alignment.score import Correction, Look, Scene
from cmdfusion_ros.labelling.alignment.search import (
    SIGMA,
    best_late,
    best_shift,
    best_turn,
    gain,
)

FITS, TURN, SHIFT, LATE, AXES, UNSURE = "fits", "turn", "shift", "late", "axes", "cannot tell"
# Set so that no right camera is called wrong: on ten sequences of SemanticKITTI, and _LEAST_SHARE
# above the 0.36 that chance gave one on a stretch of the PandaSet bag.
_LEAST_SCORE = 0.28  # of what is suggested
_LEAST_SHARE = 0.4  # of that score, which the transform as it is lacks
_LEAST_DEVIATIONS = 3.5
_LEAST_EDGES = 300
_LEAST_LOOKS = 3
_NEW = 3.0  # grey levels of 255, between images that show different things
_CLEAR = 0.85  # of the gain of the best explanation; another one with more explains as well
_FIT_SCORE = 0.15
_SLOW = 1.0  # m/s; slower, a wrong time moves no edge
_SMALL_DEG, _SMALL_M, _SMALL_S = 0.5, 0.05, 0.02
_BODY = ((0.0, -1.0, 0.0), (0.0, 0.0, -1.0), (1.0, 0.0, 0.0))  # optical axes from a body's
_IDENTITY = Correction()


@dataclass(frozen=True)
class Alignment:
    """What was found of a camera.

    Attributes:
        verdict: "fits", "turn", "shift", "late", "axes" or "cannot tell".
        correction: what would make it fit; none for "fits" and "cannot tell".
        score, best: of the transform as it is and of the correction: how much nearer to edges of
            the image the edges of the cloud lie than other points, summed over two cues.
        deviations: by how many standard deviations the best is better.
        also: other verdicts that explain what is seen about as well.
        looks: scans that were looked at. moves: whether the robot moved by transforms.
        why: of "cannot tell".
    """

    verdict: str
    correction: Correction = _IDENTITY
    score: float = 0.0
    best: float = 0.0
    deviations: float = 0.0
    also: tuple[tuple[str, Correction], ...] = ()
    looks: int = 0
    moves: bool = False
    why: str = ""

    @property
    def is_wrong(self) -> bool:
        return self.verdict not in (FITS, UNSURE)

    @property
    def words(self) -> str:
        """One line for people."""
        if self.verdict == UNSURE:
            return f"cannot tell whether its place is right: {self.why}"
        if self.verdict == FITS:
            clock = (
                ""
                if self.moves
                else (
                    "; nothing can be told of its stamps: it stands, or no transform says that "
                    "it moves"
                )
            )
            return (
                "edges of the clouds lie on edges of its images; a roll of some degrees, 10 cm or "
                f"50 ms would hardly show{clock}"
            )
        said = _suggestion(self.verdict, self.correction)
        others = "".join(f", or {_suggestion(kind, other)}" for kind, other in self.also)
        return f"{said}{others}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "verdict": self.verdict,
            "words": self.words,
            "turn_deg": [round(x, 2) for x in self.correction.turn],
            "shift_m": [round(x, 3) for x in self.correction.shift],
            "late_ms": round(1e3 * self.correction.late, 1),
            "axes": self.correction.axes,
            "score": round(self.score, 3),
            "best_score": round(self.best, 3),
            "deviations": round(self.deviations, 1),
            "also": [kind for kind, _ in self.also],
            "looks": self.looks,
        }


def check_alignment(
    looks: Sequence[Look], intrinsic: np.ndarray, distortion: Distortion | None = None
) -> Alignment:
    """Alignment of one camera.

    Args:
        looks: scans with images of one size, best from places some metres apart. intrinsic: (3, 3)
            of the images. distortion: lens or None.
    """
    looks = _different(looks)
    if len(looks) < _LEAST_LOOKS:
        why = f"{len(looks)} of its images show something new, it takes {_LEAST_LOOKS}"
        return Alignment(UNSURE, why=why)
    scene = Scene(looks, intrinsic, distortion)
    now = scene.closeness(_IDENTITY, SIGMA)
    moves = scene.moves and float(np.median(scene.speed)) > _SLOW
    told: dict[str, Any] = {"score": now.score(), "looks": len(looks), "moves": moves}
    found: dict[str, Correction] = {TURN: best_turn(scene), AXES: _best_axes(scene)}
    if moves:
        found[LATE] = best_late(scene)
    if any(_share(scene, other) > _LEAST_SHARE / 2 for other in found.values()):
        found[SHIFT] = best_shift(scene)
    explains = {}
    for kind, correction in found.items():
        closeness = scene.closeness(correction, SIGMA)
        better, deviations = gain(scene, correction, _IDENTITY)
        if (
            closeness.edges >= _LEAST_EDGES
            and closeness.score() >= _LEAST_SCORE
            and better >= _LEAST_SHARE * closeness.score()
            and deviations >= _LEAST_DEVIATIONS
            and _is_large(correction)
        ):
            explains[kind] = closeness.score(), deviations
    if explains:
        best = max(explains, key=lambda kind: explains[kind][0])
        score, deviations = explains[best]
        least = now.score() + _CLEAR * (score - now.score())
        also = tuple(
            (kind, found[kind]) for kind in explains if kind != best and explains[kind][0] >= least
        )
        return Alignment(best, found[best], best=score, deviations=deviations, also=also, **told)
    if now.edges < _LEAST_EDGES:
        return Alignment(UNSURE, why=f"its images show {now.edges} points at edges", **told)
    if now.score() < _FIT_SCORE or now.deviations() < _LEAST_DEVIATIONS:
        return Alignment(UNSURE, why="few edges of the clouds are edges of its images", **told)
    return Alignment(FITS, best=now.score(), **told)


def _different(looks: Sequence[Look]) -> list[Look]:
    """The looks whose image differs from the one before: a robot that stands shows one scene again
    and again, and would make what is chance in it look certain.
    """
    kept: list[Look] = []
    for look in looks:
        if not kept or shows_new(look.image, kept[-1].image):
            kept.append(look)
    return kept


def shows_new(image: np.ndarray, before: np.ndarray) -> bool:
    """Whether an image shows something else than one of the same size before."""
    return float(np.abs(image[::8, ::8] - before[::8, ::8].astype(np.float32)).mean()) > _NEW


def _share(scene: Scene, correction: Correction) -> float:
    """Share of the correction's score that the transform as it is lacks."""
    better = scene.closeness(correction, SIGMA).score()
    return (better - scene.closeness(_IDENTITY, SIGMA).score()) / max(better, 1e-3)


def _is_large(correction: Correction) -> bool:
    """Whether it is more than what edges of clouds and images differ by anyway."""
    return (
        correction.axes is not None
        or float(np.linalg.norm(correction.turn)) >= _SMALL_DEG
        or float(np.linalg.norm(correction.shift)) >= _SMALL_M
        or abs(correction.late) >= _SMALL_S
    )


def _best_axes(scene: Scene) -> Correction:
    """The best of the 23 rotations that take axes to axes."""
    return max(
        _axes(), key=lambda other: scene.closeness(other, 2 * SIGMA).score_where(_LEAST_EDGES)
    )


def _axes() -> list[Correction]:
    found = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            rotation = np.zeros((3, 3))
            rotation[range(3), order] = signs
            if np.linalg.det(rotation) > 0 and not np.array_equal(rotation, np.eye(3)):
                found.append(Correction(axes=tuple(map(tuple, rotation.tolist()))))
    return found


def _suggestion(kind: str, correction: Correction) -> str:
    if kind == TURN:
        size = float(np.linalg.norm(correction.turn))
        parts = [
            f"{value:+.1f} about its {axis}"
            for axis, value in zip(("x (right)", "y (down)", "z (ahead)"), correction.turn,
                                   strict=True)
            if abs(value) >= _SMALL_DEG
        ]  # fmt: skip
        return (
            f"this extrinsic looks wrong by about {size:.1f} degrees ({', '.join(parts)}: a turn "
            "of the points in its optical frame that makes them fit)"
        )
    if kind == SHIFT:
        metres = ", ".join(f"{100 * value:+.0f}" for value in correction.shift)
        return f"its place looks wrong: points fit when shifted by {metres} cm along its x, y, z"
    if kind == LATE:
        when = "after" if correction.late > 0 else "before"
        return (
            f"its stamps look wrong: images fit when taken {1e3 * abs(correction.late):.0f} ms "
            f"{when} they say"
        )
    if correction.axes == _BODY:
        return (
            "its frame has x ahead and z up, as a body's: an optical frame (z ahead, x right, y "
            "down) is expected; name that one in the images and CameraInfo"
        )
    if correction.axes == tuple(zip(*_BODY, strict=True)):
        return (
            "its optical rotation was applied twice, or the other way round: its frame has "
            "axes that are neither a body's nor optical"
        )
    names = [f"{'-' if sum(row) < 0 else ''}{'xyz'[[abs(x) for x in row].index(1.0)]}"
             for row in correction.axes or ()]  # fmt: skip
    return (
        f"the axes of its frame are swapped: right, down and ahead in its images are its "
        f"{', '.join(names)}, not x, y, z"
    )
