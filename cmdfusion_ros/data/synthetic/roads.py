"""Roads that leave the main one, with rounded corners: the ground, and what stands along them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cmdfusion_ros.data.synthetic import buildings, furniture, plants
from cmdfusion_ros.data.synthetic.ground import ASPHALT, LAWN, MARKING, SLABS
from cmdfusion_ros.data.synthetic.lots import DEEP
from cmdfusion_ros.data.synthetic.plan import Plan
from cmdfusion_ros.data.synthetic.street import SIDE, Street

KERB_STONE = 0.15  # metres


@dataclass(frozen=True)
class SideRoad:
    """A straight road that begins at the middle of the main one.

    Attributes:
        at: metres along the main road where their middles meet. lean: radians from the
            perpendicular. side: 1 to the left, -1 to the right. half: metres from middle to kerb.
        verge, walk: metres, of the lawn and of the footway beside it. corner: metres, radius of
            the kerb between the two roads.
    """

    at: float
    lean: float
    side: int
    half: float
    verge: float
    walk: float
    corner: float

    @property
    def edge(self) -> float:
        """Metres from its middle to what lies beside it."""
        return self.half + KERB_STONE + self.verge + self.walk

    def offset(self, along: Any, across: Any) -> Any:
        """Metres to the left of its middle, looking outwards, of road coordinates."""
        sine, cosine = np.sin(self.lean), np.cos(self.lean)
        return (across * self.side * sine - (along - self.at) * cosine) * self.side

    def place(self, way: Any, offset: Any) -> tuple[Any, Any]:
        """Road coordinates of the place `way` metres out along its middle, `offset` to the left."""
        sine, cosine = np.sin(self.lean), np.cos(self.lean)
        along = self.at + way * sine - offset * cosine * self.side
        return along, self.side * (way * cosine + offset * self.side * sine)

    def yaw(self) -> float:
        """Radians from the direction of the main road to its own, outwards."""
        return self.side * (np.pi / 2 - self.lean)

    def span(self, near: float, far: float, beside: float = 0.0) -> tuple[float, float]:
        """(from, to) along that it takes between two distances from the main road's middle."""
        ends = self.at + np.tan(self.lean) * np.array([near, far])
        reach = (self.edge + beside) / np.cos(self.lean)
        return float(ends.min() - reach), float(ends.max() + reach)


def draw_side_roads(
    rng: np.random.Generator, street: Street, place: Any, edge: Mapping[int, float]
) -> list[SideRoad]:
    """The side roads of a street: T-junctions, crossings, some aslant.

    Args:
        rng: Generator. street: Street. place: Place. edge: {side: metres to the lots}.
    """
    roads, at = [], street.first + rng.uniform(15, 90)
    while at < street.last - 20:
        kind = rng.choice([1, -1, 0], p=(0.33, 0.33, 0.34))
        lean = rng.normal(0, 0.06) if rng.random() < 0.6 else rng.uniform(-0.6, 0.6)
        half, walk = rng.uniform(2.2, 4.2), rng.uniform(1.3, 3.0) * (rng.random() < place.walk)
        for side in (1, -1) if kind == 0 else (kind,):
            verge = rng.uniform(1.0, 3.5) if rng.random() < place.verge * 0.6 else 0.0
            corner = rng.uniform(1.5, 9.0)
            roads.append(SideRoad(at, float(lean) * side, side, half, verge, walk, corner))
        at += rng.uniform(*place.junctions) + 12.0
    return roads


def paint_side_road(plan: Plan, section: Any, road: SideRoad) -> None:
    """Paint a side road with its footways; kerbs and footways go round the corners."""
    kerb = section.kerb(road.side)
    low, high = road.span(0, SIDE, beside=2 * road.corner + 3)
    rows, columns, along, across = plan.street.patch(
        (low, high), sorted((road.side * (section.half - 0.5), road.side * SIDE))
    )
    beside_main = road.side * across - kerb
    beside_road = np.abs(road.offset(along, across)) - road.half
    inner = np.minimum(beside_main, beside_road)
    a, b = np.maximum(road.corner - beside_main, 0), np.maximum(road.corner - beside_road, 0)
    rounded = np.maximum(inner, road.corner) - np.hypot(a, b)
    main_is_near = beside_main < beside_road
    verge = np.where(main_is_near, section.verge[road.side], road.verge)
    walk = np.where(main_is_near, section.walk[road.side], road.walk) + verge + KERB_STONE
    zones = plan.zones[rows, columns]
    reach = beside_road < road.edge - road.half + road.corner  # the rest of the main road stays
    stone = rounded < KERB_STONE
    zones[reach & (rounded < walk)] = section.walk_zone[road.side]
    zones[reach & (rounded < verge + KERB_STONE)] = LAWN
    zones[reach & stone & (walk > KERB_STONE + verge)] = SLABS
    zones[(rounded < 0) & (beside_main > -0.6)] = ASPHALT
    plan.zones[rows, columns] = zones


def mark_junction(plan: Plan, section: Any, road: SideRoad) -> None:
    """Zebra crossings, stop lines, and an island in the mouth of some side roads."""
    rng, mouth = plan.rng, section.kerb(road.side) + 0.3
    low, high = road.span(section.half, section.half + 4)
    for edge in (low - 1.0, high + 1.0):
        if rng.random() < 0.3:
            for across in np.arange(-section.half + 0.3, section.half - 0.3, 1.0):
                plan.paint(MARKING, (edge - 1.5, edge + 1.5), (across, across + 0.5))
    if rng.random() < 0.4:
        centre = road.place((mouth + 1.5) / np.cos(road.lean), road.half / 2)
        half = road.half / 2 / np.cos(road.lean)
        plan.paint(
            MARKING, (centre[0] - half, centre[0] + half), (centre[1] - 0.25, centre[1] + 0.25)
        )
    if road.half > 3.2 and rng.random() < 0.35:
        _island(plan, road, mouth + rng.uniform(2.5, 5))


def _island(plan, road, way):
    """A raised island in the middle of a side road, with a bollard or a sign."""
    length, wide = plan.rng.uniform(1.5, 4.0), plan.rng.uniform(0.5, 1.0)
    along, across = road.place(way + length, 0.0)
    zone = plan.rng.choice([SLABS, LAWN])
    reach = length + 1
    rows, columns, grid_along, grid_across = plan.street.patch(
        (along - reach, along + reach), (across - reach, across + reach)
    )
    off = road.offset(grid_along, grid_across)
    sine, cosine = np.sin(road.lean), np.cos(road.lean)
    way_of = (grid_along - along) * sine + (grid_across - across) * cosine * road.side
    plan.zones[rows, columns][np.hypot(way_of / length, off / wide) < 1] = zone
    make = furniture.traffic_sign if plan.rng.random() < 0.6 else furniture.bollard
    plan.put(make(plan.rng), *road.place(way + 0.6, 0.0), road.yaw() + np.pi)


def furnish_side_road(plan: Plan, section: Any, road: SideRoad) -> None:
    """What stands along a side road: parked cars, lamps, trees, borders, houses behind."""
    rng = plan.rng
    start = section.edge[road.side] + road.corner + 2
    for flank in (-1, 1):
        if rng.random() < 0.6:
            _park(plan, road, flank, start)
        if rng.random() < 0.5:
            kerb = flank * (road.half + KERB_STONE + max(road.verge / 2, 0.3))
            for way in np.arange(start + rng.uniform(0, 15), 70, rng.uniform(22, 36)):
                plan.put(
                    furniture.lamp(rng), *road.place(way, kerb), road.yaw() - flank * np.pi / 2
                )
        if road.verge and rng.random() < 0.7:
            for way in np.arange(start, 70, rng.uniform(8, 15)):
                middle = flank * (road.half + KERB_STONE + road.verge / 2)
                plan.put(plants.broadleaf(rng, 0.9), *road.place(way + rng.normal(0, 1), middle))
        _border(plan, section, road, flank)
        _houses(plan, road, flank)
    if rng.random() < 0.6:
        way, offset = section.edge[road.side] + rng.uniform(-1, 2), road.edge + rng.uniform(-1, 0)
        place = road.place(way, rng.choice([-1, 1]) * offset)
        plan.put(furniture.traffic_sign(rng), *place, road.yaw() + rng.normal(0, 0.2))


def _park(plan, road, flank, start):
    share, way = plan.rng.uniform(0.1, 0.7), start
    offset = flank * (road.half - plan.rng.uniform(0.3, 0.9))
    while way < 68:
        if plan.rng.random() < share:
            turn = plan.rng.normal(0, 0.03) + np.pi * (flank > 0)
            plan.put(plan.large_or_car(0.05), *road.place(way, offset), road.yaw() + turn)
        way += plan.rng.uniform(5.6, 7.5)


def _border(plan, section, road, flank):
    """Hedges, fences, walls, bushes and trees along the footway of a side road."""
    rng, way = plan.rng, section.edge[road.side] + max(road.corner * 0.5, 1.5)
    while way < 70:
        length, kind = rng.uniform(6, 16), rng.random()
        offset, yaw = flank * (road.edge + rng.uniform(0.3, 0.8)), road.yaw()
        middle = road.place(way + length / 2, offset)
        if kind < 0.38:
            plan.put(plants.hedge(rng, length), *middle, yaw)
        elif kind < 0.6:
            plan.put(furniture.fence(rng, length), *middle, yaw)
        elif kind < 0.8:
            for step in np.arange(0, length, 2.2):
                place = road.place(way + step, offset + flank * rng.uniform(0.3, 1.5))
                plan.put(plants.bush(rng, rng.uniform(0.8, 1.8)), *place)
        elif kind < 0.9:
            plan.put(plants.broadleaf(rng), *road.place(way + length / 2, offset + flank * 1.5))
        way += length + rng.choice([0.0, rng.uniform(2, 5)])


def _houses(plan, road, flank):
    """Houses and trees along the part of a side road that lies behind the main road's lots."""
    rng, way = plan.rng, DEEP + 8
    while way < 68:
        length = rng.uniform(10, 16)
        offset = flank * (road.edge + rng.uniform(1.5, 6))
        place = road.place(way, offset)
        if rng.random() < 0.6:
            turn = road.yaw() + (0 if flank > 0 else np.pi)
            body = buildings.house(rng, length - 2, rng.uniform(8, 10), rng.integers(1, 4))
            plan.put(body, *place, turn)
        else:
            plan.put(plants.broadleaf(rng, 1.2), *road.place(way, offset + flank * 2))
        way += length
