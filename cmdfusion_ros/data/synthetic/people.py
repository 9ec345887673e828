"""Bodies of people: walking, standing, riding. Body frame as in vehicles.py. `phase` moves their
limbs.
"""

from collections.abc import Callable

import numpy as np

from cmdfusion_ros.data.synthetic.solids import CLOTH, Material, Solid, ball, box, rod, wedge
from cmdfusion_ros.data.synthetic.vehicles import bicycle, motorcycle

PERSON, BICYCLIST, MOTORCYCLIST = 30, 31, 32
_SKIN = ((0.55, 0.38, 0.29), (0.48, 0.32, 0.24), (0.30, 0.19, 0.13), (0.18, 0.11, 0.08))
_TROUSERS = (
    (0.05, 0.06, 0.12),
    (0.04, 0.04, 0.045),
    (0.25, 0.22, 0.17),
    (0.12, 0.15, 0.22),
    (0.4, 0.38, 0.34),
)


class Person:
    """Looks and size of one person; the pose is chosen later.

    Args:
        rng: numpy Generator. raw: raw id of all parts.
    """

    def __init__(self, rng: np.random.Generator, raw: int = PERSON):
        self.height = (
            float(np.clip(rng.normal(1.72, 0.09), 1.5, 1.95))
            if rng.random() > 0.12
            else rng.uniform(1.05, 1.4)
        )
        self.stride, self.girth, self.swing = (
            rng.uniform(0.35, 0.6),
            rng.uniform(0.9, 1.3),
            rng.uniform(0.3, 0.6),
        )
        top = (
            tuple(rng.uniform(0.03, 0.65, 3))
            if rng.random() < 0.6
            else (float(rng.uniform(0.03, 0.3)),) * 3
        )
        self._skin = Material(raw, _SKIN[rng.integers(len(_SKIN))], reflectance=0.42)
        self._hair = Material(
            raw, tuple(np.array((0.10, 0.07, 0.05)) * rng.uniform(0.3, 3.0)), reflectance=0.3
        )
        self._top = Material(raw, top, CLOTH, float(rng.uniform(0.3, 0.6)))
        self._legs = Material(
            raw, _TROUSERS[rng.integers(len(_TROUSERS))], CLOTH, float(rng.uniform(0.25, 0.5))
        )
        self._shoes = Material(raw, (0.05, 0.05, 0.05), reflectance=0.25)
        self._bag = rng.random() < 0.3
        self._helmet = Material(raw, tuple(rng.uniform(0.05, 0.8, 3)), reflectance=0.35, gloss=0.5)

    def walking(self, phase: float) -> list[Solid]:
        """The parts at `phase` radians of the gait."""
        h = self.height
        hip, shoulder = 0.52 * h, 0.82 * h
        parts = []
        for side in (-1, 1):
            angle = side * self.stride * np.sin(phase)
            bend = 0.5 * max(0.0, side * np.cos(phase))
            parts += self._leg((0, side * 0.055 * h, hip), angle, angle - bend, 0.25 * h, 0.25 * h)
            parts += self._arm(
                (0, side * 0.13 * h * self.girth**0.5, shoulder - 0.02 * h),
                -self.swing * np.sin(phase) * side,
                0.3,
                0.17 * h,
                0.15 * h,
            )
        return parts + self._trunk((0, 0, hip), (0, 0, shoulder), self._hair)

    def standing(self) -> list[Solid]:
        """The parts of a person at rest."""
        return self.walking(0.15)

    def riding(
        self,
        seat: tuple[float, float],
        bars: tuple[float, float],
        foot_height: float,
        lean: float,
        phase: float = 0.0,
        helmet: bool = True,
    ) -> list[Solid]:
        """The parts of a rider: hips on `seat`, hands on `bars` (x, z), the back leaning forward
        by `lean` radians, feet near `foot_height`.
        """
        h = self.height
        hip = np.array([seat[0], 0, seat[1] + 0.06])
        shoulder = hip + 0.31 * h * np.array([np.sin(lean), 0, np.cos(lean)])
        parts = []
        for side in (-1, 1):
            foot = np.array(
                [
                    seat[0] + 0.28 + 0.1 * np.cos(phase + side * np.pi / 2),
                    side * 0.1,
                    foot_height + 0.1 + 0.1 * np.sin(phase + side * np.pi / 2),
                ]
            )
            knee = (hip + foot) / 2 + np.array([0.22, 0, 0.08])
            start = hip + np.array([0, side * 0.08, 0])
            parts += [
                rod(start, knee, 0.075, self._legs, 0.055),
                rod(knee, foot, 0.055, self._legs, 0.04),
                box(foot, (0.12, 0.04, 0.04), self._shoes),
            ]
            top, hand = (
                shoulder + np.array([0, side * 0.19, -0.03]),
                np.array([bars[0], side * 0.24, bars[1] + 0.03]),
            )
            elbow = (top + hand) / 2 + np.array([-0.05, side * 0.05, -0.08])
            parts += [
                rod(top, elbow, 0.05, self._top, 0.04),
                rod(elbow, hand, 0.04, self._top, 0.035),
            ]
        return parts + self._trunk(
            tuple(hip),
            tuple(shoulder),
            self._helmet if helmet else self._hair,
            grown=1.12 if helmet else 1.0,
        )

    def _trunk(self, hip, shoulder, hat, grown=1.0):
        h, (x, _, z) = self.height, shoulder
        radius = 0.105 * h * self.girth
        parts = [
            rod(
                np.array(hip) - (0, 0, 0.04),
                shoulder,
                radius * 0.95,
                self._top,
                radius * 1.05,
                flat=0.62,
            )
        ]
        parts[0] = _across(parts[0])
        parts.append(rod((x, 0, z), (x + 0.01, 0, z + 0.06 * h), 0.05, self._skin))
        head = z + 0.115 * h
        parts.append(
            ball(
                (x + 0.02, 0, head),
                (0.065 * h * grown, 0.05 * h * grown, 0.075 * h * grown),
                self._skin,
            )
        )
        parts.append(
            ball(
                (x - 0.005, 0, head + 0.022 * h),
                (0.066 * h * grown, 0.056 * h * grown, 0.064 * h * grown),
                hat,
            )
        )
        if self._bag:
            parts.append(
                wedge(
                    (x - 0.2, 0, z - 0.16 * h),
                    (0.09, 0.14, 0.14 * h),
                    self._helmet,
                    rear=0.3,
                    sides=0.2,
                )
            )
        return parts

    def _leg(self, hip, thigh, shin, upper, lower):
        knee = np.array(hip) + upper * np.array([np.sin(thigh), 0, -np.cos(thigh)])
        foot = knee + lower * np.array([np.sin(shin), 0, -np.cos(shin)])
        radius = 0.048 * self.height * self.girth**0.5
        shoe = box(foot + (0.05, 0, 0.03), (0.13, 0.045, 0.045), self._shoes)
        return [
            rod(hip, knee, radius, self._legs, radius * 0.75),
            rod(knee, foot, radius * 0.75, self._legs, radius * 0.55),
            shoe,
        ]

    def _arm(self, shoulder, angle, bend, upper, lower):
        elbow = np.array(shoulder) + upper * np.array([np.sin(angle), 0, -np.cos(angle)])
        hand = elbow + lower * np.array([np.sin(angle + bend), 0, -np.cos(angle + bend)])
        return [
            rod(shoulder, elbow, 0.05, self._top, 0.042),
            rod(elbow, hand, 0.042, self._top, 0.03),
            ball(hand, (0.045, 0.03, 0.055), self._skin),
        ]


def _across(part):
    """The same tube with its wider axis across the body (y)."""
    z = part.rotation[:, 2]
    y = np.array([0.0, 1.0, 0.0])
    rotation = np.stack([y, np.cross(z, y), z], axis=1)
    return type(part)(part.kind, part.centre, part.half, part.material, part.shape, rotation)


def bicyclist(rng: np.random.Generator) -> Callable[[float], list[Solid]]:
    """(phase) -> parts of a person on a bicycle."""
    machine, person = bicycle(rng, BICYCLIST), Person(rng, BICYCLIST)
    person.height, helmet, lean = max(person.height, 1.5), rng.random() < 0.5, rng.uniform(0.1, 0.5)
    return lambda phase: (
        machine + person.riding((-0.22, 0.92), (0.36, 1.02), 0.1, lean, phase, helmet)
    )


def motorcyclist(rng: np.random.Generator) -> Callable[[float], list[Solid]]:
    """(phase) -> parts of a person on a motorcycle; the phase is not used."""
    machine, person = motorcycle(rng, MOTORCYCLIST), Person(rng, MOTORCYCLIST)
    person.height, lean = max(person.height, 1.6), rng.uniform(0.1, 0.45)
    return lambda phase: machine + person.riding((-0.3, 0.85), (0.42, 1.02), 0.25, lean)
