"""Bodies of houses, sheds and halls. Body frame: x along the street, y away from it, origin on
the ground in the middle of the front.
"""

import numpy as np

from cmdfusion_ros.data.synthetic.solids import (
    BOARDS,
    FACADE,
    PLAIN,
    ROOF,
    Material,
    Solid,
    box,
    grille,
    wedge,
)

BUILDING = 50
_WALLS = (
    (0.68, 0.64, 0.55),
    (0.62, 0.58, 0.50),
    (0.74, 0.72, 0.68),
    (0.55, 0.40, 0.28),
    (0.36, 0.17, 0.12),
    (0.50, 0.49, 0.47),
    (0.62, 0.52, 0.34),
    (0.45, 0.50, 0.52),
    (0.30, 0.20, 0.15),
)
_ROOFS = ((0.30, 0.12, 0.08), (0.22, 0.10, 0.07), (0.12, 0.11, 0.11), (0.25, 0.17, 0.12))


def _wall(rng):
    paint = np.array(_WALLS[rng.integers(len(_WALLS))]) * rng.uniform(0.85, 1.1)
    return Material(
        BUILDING,
        tuple(paint),
        FACADE,
        float(np.clip(0.2 + 0.3 * paint.mean() + rng.normal(0, 0.03), 0.15, 0.55)),
    )


def house(rng: np.random.Generator, length: float, depth: float, storeys: int) -> list[Solid]:
    """A house with a pitched or flat roof, and what sticks out of it: chimney, balconies, porch,
    a wing at the back.
    """
    wall, height = _wall(rng), 2.9 * storeys + rng.uniform(0.2, 0.6)
    trim = Material(BUILDING, (0.6, 0.59, 0.57), PLAIN, 0.35)
    parts = [box((0, depth / 2, height / 2 - 1), (length / 2, depth / 2, height / 2 + 1), wall)]
    if rng.random() < 0.75:
        parts += _roof(rng, length, depth, height)
    else:
        parts.append(
            box((0, depth / 2, height + 0.15), (length / 2 + 0.2, depth / 2 + 0.2, 0.15), trim)
        )
    for storey in range(1, storeys):
        if rng.random() < 0.35:
            parts += _balcony(rng, rng.uniform(-0.3, 0.3) * length, 2.9 * storey, trim)
    door = rng.uniform(-0.35, 0.35) * length
    if rng.random() < 0.5:
        parts += [
            box((door, -0.6, 2.5), (0.9, 0.6, 0.06), trim),
            box((door, -0.5, 0.1), (0.8, 0.5, 0.15), trim),
        ]
    if rng.random() < 0.4:
        wing = rng.uniform(3, 5)
        side = rng.choice([-1, 1])
        parts.append(
            box(
                (side * (length - wing) / 2, depth + 1.5, height * 0.35 - 1),
                (wing / 2, 2.0, height * 0.35 + 1),
                wall,
            )
        )
    return parts


def _roof(rng, length, depth, height):
    tiles = Material(
        BUILDING,
        tuple(np.array(_ROOFS[rng.integers(len(_ROOFS))]) * rng.uniform(0.8, 1.2)),
        ROOF,
        0.22,
    )
    rise = depth * rng.uniform(0.25, 0.42)
    hipped = 0.6 if rng.random() < 0.25 else 0.0
    brick = Material(BUILDING, (0.33, 0.16, 0.11), PLAIN, 0.3)
    parts = [
        wedge(
            (0, depth / 2, height + rise / 2),
            (length / 2 + 0.3, depth / 2 + 0.45, rise / 2),
            tiles,
            front=hipped,
            rear=hipped,
            sides=0.995,
        )
    ]
    for _ in range(rng.integers(0, 3)):
        parts.append(
            box(
                (rng.uniform(-0.4, 0.4) * length, depth * rng.uniform(0.35, 0.65), height + rise),
                (0.3, 0.3, 0.9),
                brick,
            )
        )
    if rng.random() < 0.35:
        x = rng.uniform(-0.25, 0.25) * length
        parts.append(
            box(
                (x, depth * 0.22, height + rise * 0.35),
                (0.9, depth * 0.14, rise * 0.3),
                Material(BUILDING, (0.6, 0.58, 0.55), FACADE, 0.35),
            )
        )
    return parts


def _balcony(rng, x, z, trim):
    wide = rng.uniform(1.0, 1.9)
    rail = Material(BUILDING, tuple(np.array((0.2, 0.2, 0.21)) * rng.uniform(0.5, 2)), PLAIN, 0.3)
    return [
        box((x, -0.6, z), (wide, 0.6, 0.09), trim),
        grille((x, -1.17, z + 0.55), (wide, 0.025, 0.48), rail, 0.14, 0.35, 0.05),
    ]


def garage(rng: np.random.Generator) -> list[Solid]:
    """A flat shed, one or two cars wide."""
    wide = rng.choice([1.6, 3.0])
    return [
        box(
            (0, 2.8, 1.0),
            (wide, 2.8, 1.5),
            Material(
                BUILDING, tuple(np.array((0.6, 0.58, 0.55)) * rng.uniform(0.7, 1.1)), BOARDS, 0.35
            ),
        )
    ]


def hall(rng: np.random.Generator, length: float, depth: float) -> list[Solid]:
    """A shop or hall with a flat roof and a canopy."""
    wall, height = _wall(rng), rng.uniform(4.5, 7.5)
    trim = Material(BUILDING, tuple(rng.uniform(0.1, 0.6, 3)), PLAIN, 0.35)
    return [
        box((0, depth / 2, height / 2 - 1), (length / 2, depth / 2, height / 2 + 1), wall),
        box((0, -0.9, 3.1), (length * 0.3, 0.9, 0.12), trim),
        box((0, depth / 2, height + 0.1), (length / 2 + 0.1, depth / 2 + 0.1, 0.25), trim),
    ]
