"""What lies beside a street, lot after lot: gardens, rows of houses, squares, car parks, woods."""

import numpy as np

from cmdfusion_ros.data.synthetic import buildings, furniture, plants, vehicles
from cmdfusion_ros.data.synthetic.ground import (
    ASPHALT,
    DRIVEWAY,
    FOOTWAY,
    GRAVEL,
    LAWN,
    PARKING,
    PARKING_STONES,
    SLABS,
    SOIL,
)
from cmdfusion_ros.data.synthetic.plan import Plan, Shares, Spans
from cmdfusion_ros.data.synthetic.solids import Solid

DEEP = 34.0  # metres from the middle of the road to the back of the lots
_LENGTH = {
    "garden": (14, 24), "villa": (18, 30), "row": (9, 14), "hall": (22, 34), "park": (14, 30),
    "lawn": (14, 40), "wood": (16, 34), "field": (14, 50), "farm": (20, 32),
    "square": (22, 45), "carpark": (22, 45),
}  # fmt: skip


def fill_lots(plan: Plan, side: int, edge: float, shares: Shares, gaps: Spans) -> None:
    """Build on one side of the street.

    Args:
        plan: Plan, to which zones and bodies are added.
        side: 1 left, -1 right. edge: metres from the middle of the road to where lots begin.
        shares: share of each kind of lot. gaps: [(from, to)] along, where side roads run.
    """
    kinds, shares = list(shares), list(shares.values())
    along = plan.street.first
    while along < plan.street.last - 8:
        kind = str(plan.rng.choice(kinds, p=shares))
        length = plan.rng.uniform(*_LENGTH[kind])
        met = [gap for gap in gaps if gap[0] < along + length and along < gap[1]]
        gap = min(met, default=None)
        if gap is not None and gap[0] - along < 9:
            along = gap[1]
            continue
        if gap is not None:
            length = gap[0] - along
        _BUILD[kind](Lot(plan, side, edge, along, length))
        along += length


class Lot:
    """A rectangle of road coordinates: `at(x, y)` counts x along the street from the lot's
    middle, y away from the street.
    """

    def __init__(self, plan: Plan, side: int, edge: float, along: float, length: float):
        self.plan, self.rng, self.side, self.edge, self.middle, self.length = (
            plan,
            plan.rng,
            side,
            edge,
            along + length / 2,
            length,
        )

    def put(self, body: list[Solid], x: float, y: float, yaw: float = 0.0) -> None:
        """Put a body whose y axis points away from the street, turned by `yaw`."""
        self.plan.put(
            body,
            self.middle + x * self.side,
            self.side * (self.edge + y),
            yaw if self.side > 0 else yaw + np.pi,
        )

    def paint(self, zone: int, x: tuple[float, float], y: tuple[float, float]) -> None:
        """Paint a zone over x = (from, to), y = (from, to)."""
        along = sorted(self.middle + value * self.side for value in x)
        across = sorted(self.side * (self.edge + value) for value in y)
        self.plan.paint(zone, along, across)

    def between(self, low: float, high: float) -> float:
        """A number from `low` to `high`; `low` where a short lot leaves no room."""
        return self.rng.uniform(low, max(low, high))

    def people(self, x: float, y: float) -> None:
        """Someone who stands there, or a group."""
        self.plan.put_people(self.middle + x * self.side, self.side * (self.edge + y))

    @property
    def depth(self) -> float:
        """Metres from front to back."""
        return DEEP - self.edge


def _border(lot, start, stop):
    """What stands between garden and footway from x = start to stop: hedge, fence, or nothing."""
    length, choice = stop - start, lot.rng.random()
    if length < 1.5 or choice > 0.93:
        return
    if choice < 0.5:
        lot.put(plants.hedge(lot.rng, length), (start + stop) / 2, 0.35)
        return
    lot.put(furniture.fence(lot.rng, length), (start + stop) / 2, 0.35)
    if choice > 0.75:  # a fence that shrubs grow through and over
        _shrubs(lot, (start, stop), (0.7, 1.6), 1.6, 0.9)


def _shrubs(lot, x, y, spacing, grow):
    """Bushes about `spacing` metres apart in a rectangle of the lot."""
    rng = lot.rng
    for _ in range(int((x[1] - x[0]) * max(y[1] - y[0], 1.0) / spacing**2) + 1):
        lot.put(plants.bush(rng, grow * rng.uniform(0.6, 1.3)), rng.uniform(*x), rng.uniform(*y))


def _tree(rng, grow=1.0):
    make = rng.choice([plants.broadleaf, plants.conifer, plants.poplar], p=(0.72, 0.22, 0.06))
    return make(rng, grow * rng.uniform(0.8, 1.4))


def _trees(lot, count, y, grow=1.0):
    half = lot.length / 2
    for _ in range(count):
        lot.put(_tree(lot.rng, grow), lot.rng.uniform(-half, half), lot.between(*y))


def _side_border(lot, front):
    """A hedge or fence between this lot and the next, from `front` metres on."""
    rng, deep = lot.rng, lot.depth - front
    body = furniture.fence(rng, deep) if rng.random() < 0.35 else plants.hedge(rng, deep)
    lot.put(body, lot.length / 2, front + deep / 2, np.pi / 2)


def _garden(lot):
    rng, half = lot.rng, lot.length / 2
    setback, deep = rng.uniform(2.0, 6.5), rng.uniform(8, 11)
    wide = min(rng.uniform(8, 14), lot.length - 5)
    shift = half - wide / 2 - 0.5
    house = buildings.house(rng, wide, deep, rng.integers(1, 4))
    lot.put(house, shift, setback, rng.normal(0, 0.03) if rng.random() < 0.7 else 0.0)
    drive = -half + 2.0
    zone = rng.choice([DRIVEWAY, GRAVEL, FOOTWAY], p=(0.45, 0.15, 0.4))
    lot.paint(zone, (drive - 1.5, drive + 1.5), (0, setback + 4))
    lot.put(buildings.garage(rng), drive + 0.2, setback + 4)
    if rng.random() < 0.45:
        lot.put(lot.plan.large_or_car(0.04), drive, setback - 0.4, np.pi / 2 * rng.choice([-1, 1]))
    _border(lot, -half, drive - 1.7)
    _border(lot, drive + 1.7, half)
    lot.paint(SLABS, (shift - 0.6, shift + 0.6), (0, setback))
    for _ in range(rng.integers(0, 4)):
        place = rng.uniform(drive + 2.5, half - 1), rng.uniform(0.9, max(setback - 0.6, 1.0))
        lot.put(plants.bush(rng, rng.uniform(0.5, 1.1)), *place)
    if rng.random() < 0.5 and setback > 4:
        lot.put(_tree(rng, 0.8), rng.uniform(drive + 3, half - 1), setback - 2.4)
    _trees(lot, rng.integers(1, 5), (setback + deep + 3, lot.depth))
    _side_border(lot, rng.uniform(0.5, setback))


def _villa(lot):
    """A house far back behind a tall hedge or wall, under trees."""
    rng, half = lot.rng, lot.length / 2
    setback, wide = rng.uniform(8, 14), min(rng.uniform(9, 15), lot.length - 5)
    lot.put(buildings.house(rng, wide, 10.0, rng.integers(1, 4)), rng.uniform(-2, 2), setback)
    gate = rng.uniform(-half + 3, half - 3)
    lot.paint(rng.choice([DRIVEWAY, GRAVEL]), (gate - 1.6, gate + 1.6), (0, setback))
    for start, stop in ((-half, gate - 1.8), (gate + 1.8, half)):
        if stop - start > 1.5:
            middle = (start + stop) / 2
            if rng.random() < 0.65:
                lot.put(plants.hedge(rng, stop - start, tall=True), middle, 0.6)
            else:
                lot.put(furniture.wall(rng, stop - start), middle, 0.3)
                _shrubs(lot, (start, stop), (0.8, 2.2), 2.0, 1.4)
    _trees(lot, rng.integers(2, 6), (2.0, setback - 1), 1.1)
    _shrubs(lot, (-half, half), (2.5, setback - 2), 4.5, 1.2)
    if rng.random() < 0.4:
        lot.put(vehicles.car(rng), gate, setback - 4, np.pi / 2)
    _side_border(lot, 0.6)


def _row(lot):
    rng, half = lot.rng, lot.length / 2
    front = rng.choice([0.3, rng.uniform(1.5, 4.0)], p=(0.75, 0.25))
    house = buildings.house(rng, lot.length, rng.uniform(9, 12), rng.integers(2, 6))
    lot.put(house, 0, front)
    if front < 1:
        lot.paint(SLABS if rng.random() < 0.6 else FOOTWAY, (-half, half), (0, 0.4))
    elif rng.random() < 0.4:
        lot.paint(SLABS, (-half, half), (0, front))
    else:  # a strip of garden before the house
        _border(lot, -half, rng.uniform(0, half))
        _shrubs(lot, (-half, half), (0.8, front - 0.5), 2.2, 0.7)
    if rng.random() < 0.2:
        lot.put(plants.bush(rng, 0.5), rng.uniform(-half, half), -0.1)
    if rng.random() < 0.5:
        lot.put(_tree(rng), rng.uniform(-half, half), 18)


def _hall(lot):
    rng, half = lot.rng, lot.length / 2
    front = rng.uniform(11, 14)
    zone = rng.choice([PARKING, PARKING_STONES, GRAVEL], p=(0.5, 0.3, 0.2))
    lot.paint(zone, (-half + 1, half - 1), (0, front))
    lot.put(buildings.hall(rng, lot.length - 2, rng.uniform(9, 12)), 0, front + 1)
    for x in np.arange(-half + 2.5, half - 2, 2.6):
        if rng.random() < 0.55:
            y, yaw = front - 3.5 + rng.uniform(-0.3, 0.3), np.pi / 2 * rng.choice([-1, 1])
            lot.put(lot.plan.large_or_car(0.07), x, y, yaw)
    for x in (-half + 1.5, half - 1.5):
        if rng.random() < 0.5:
            lot.put(furniture.direction_board(rng), x, 0.8, -np.pi / 2)


def _carpark(lot):
    """Rows of cars across an open place, with lamps, few trees, a hedge around."""
    rng, half = lot.rng, lot.length / 2
    deep = lot.between(12, lot.depth - 2)
    zone = rng.choice([PARKING, PARKING_STONES, ASPHALT, GRAVEL], p=(0.5, 0.25, 0.15, 0.1))
    front = rng.choice([0.0, rng.uniform(0.8, 2.5)])
    lot.paint(zone, (-half + 0.5, half - 0.5), (front, deep))
    share, mouth = rng.uniform(0.15, 0.8), rng.uniform(-half + 4, half - 4)
    lot.paint(zone, (mouth - 3, mouth + 3), (-0.2, front))
    for y in np.arange(front + 3.5, deep - 3, rng.uniform(8, 9.5)):
        for x in np.arange(-half + 2, half - 1.5, 2.7):
            if rng.random() < share and (abs(x - mouth) > 3.5 or y > front + 6):
                yaw = np.pi / 2 * rng.choice([-1, 1]) + rng.normal(0, 0.03)
                lot.put(lot.plan.large_or_car(0.04), x, y + rng.normal(0, 0.2), yaw)
        if rng.random() < 0.5:
            lot.put(furniture.lamp(rng), rng.uniform(-half, half), y + 3.3)
        if rng.random() < 0.5:
            lot.put(plants.broadleaf(rng, 0.7), rng.uniform(-half, half), y + 3.4)
    if rng.random() < 0.4:
        lot.put(plants.hedge(rng, lot.length - 1), 0, deep + 0.8)
    elif rng.random() < 0.5:
        lot.put(buildings.hall(rng, lot.length - 4, 8.0), 0, deep + 1.5)
    for _ in range(rng.poisson(0.5 * lot.plan.rare)):
        lot.people(rng.uniform(-half, half), rng.uniform(2, deep))


def _square(lot):
    """A paved square with trees, benches, people, parked two-wheelers and houses behind."""
    rng, half = lot.rng, lot.length / 2
    deep = rng.uniform(10, 24)
    zone = rng.choice([SLABS, FOOTWAY, GRAVEL], p=(0.6, 0.25, 0.15))
    lot.paint(zone, (-half, half), (-0.1, deep))
    if rng.random() < 0.4:
        wide = rng.uniform(3, half - 1)
        lot.paint(LAWN, (-wide, wide), (deep * 0.35, deep * 0.75))
        _shrubs(lot, (-wide, wide), (deep * 0.36, deep * 0.74), 4.0, 0.7)
    if rng.random() < 0.7:
        gap, grow = rng.uniform(6, 10), rng.uniform(0.6, 1.1)
        for x in np.arange(-half + 3, half - 2, gap):
            for y in np.arange(rng.uniform(2, 4), deep - 2, gap):
                if rng.random() < 0.75:
                    lot.put(plants.broadleaf(rng, grow), x, y)
    for _ in range(rng.integers(2, 9)):
        turn, place = rng.uniform(-np.pi, np.pi), (rng.uniform(-half, half), rng.uniform(0.8, deep))
        lot.put(furniture.other_object(rng), *place, turn)
    for _ in range(rng.poisson(1.2 * lot.plan.rare)):
        lot.people(rng.uniform(-half, half), rng.uniform(0.5, deep))
    rack = rng.uniform(-half, half - 3)
    for number in range(rng.poisson(0.8 * lot.plan.rare)):
        lot.put(vehicles.bicycle(rng), rack + 0.6 * number, 1.5, np.pi / 2 + rng.normal(0, 0.1))
    lot.paint(zone, (-half, half), (deep - 0.1, deep + 0.5))
    x = -half
    while x < half - 7:
        wide = min(rng.uniform(8, 14), half - x)
        lot.put(buildings.house(rng, wide, 9.0, rng.integers(2, 6)), x + wide / 2, deep + 0.4)
        x += wide


def _park(lot):
    rng, half = lot.rng, lot.length / 2
    y = rng.uniform(2, 8)
    path = GRAVEL if rng.random() < 0.4 else rng.choice([FOOTWAY, SLABS])
    lot.paint(path, (-half, half), (y, y + rng.uniform(1.5, 3.0)))
    if rng.random() < 0.3:
        lot.paint(GRAVEL, (-half / 2, half / 2), (1, lot.depth / 2))
    _trees(lot, rng.integers(3, 9), (1, lot.depth), 1.2)
    for _ in range(rng.integers(4, 10)):
        place = rng.uniform(-half, half), rng.uniform(0.8, lot.depth)
        lot.put(plants.bush(rng, 1.5), *place)
    for _ in range(rng.poisson(0.4 * lot.plan.rare)):
        lot.people(rng.uniform(-half, half), y + 0.8)
    if rng.random() < 0.4:
        _border(lot, -half, half)


def _lawn(lot):
    """An open lawn under single trees; a path, blocks of flats or a hedge at its back."""
    rng, half = lot.rng, lot.length / 2
    if rng.random() < 0.4:
        x = rng.uniform(-half + 1, half - 1)
        lot.paint(rng.choice([SLABS, FOOTWAY]), (x - 0.8, x + 0.8), (0, lot.depth))
    _trees(lot, int(lot.length * rng.uniform(0.02, 0.18)) + 1, (1.5, lot.depth), 1.2)
    if rng.random() < 0.4:
        _shrubs(lot, (-half, half), (0.6, lot.depth), 9.0, 0.9)
    if rng.random() < 0.35:
        _ground_cover(lot, (-half, half), (0.3, rng.uniform(2, 6)))
    back = rng.uniform(12, max(lot.depth - 4, 13))
    if rng.random() < 0.4:
        house = buildings.house(rng, lot.length - 2, 9.0, rng.integers(2, 5))
        lot.put(house, 0, back, rng.normal(0, 0.1))
    elif rng.random() < 0.6:
        lot.put(plants.hedge(rng, lot.length), 0, back)
        _trees(lot, 2, (back + 1, lot.depth))


def _ground_cover(lot, x, y):
    """Low plants that cover the ground in patches."""
    for _ in range(int((x[1] - x[0]) * (y[1] - y[0]) / 6) + 1):
        place = lot.rng.uniform(*x), lot.rng.uniform(*y)
        lot.put(plants.ground_cover(lot.rng), *place)


def _wood(lot):
    rng, half = lot.rng, lot.length / 2
    lot.paint(SOIL if rng.random() < 0.4 else LAWN, (-half, half), (0.5, lot.depth))
    front = rng.uniform(0.8, 7.0)
    for x in np.arange(-half + 0.8, half, 1.7):
        if rng.random() < 0.85:
            place = x, front + rng.uniform(-0.3, 1.0)
            lot.put(plants.bush(rng, rng.uniform(1.0, 2.2)), *place)
    if rng.random() < 0.5:
        _ground_cover(lot, (-half, half), (0.3, front + 1))
    lot.put(plants.grove(rng, lot.length, 2.5), 0, front + 1.5)
    lot.put(plants.grove(rng, lot.length, 4), 0, front + 8)
    if rng.random() < 0.3:
        lot.put(furniture.fence(rng, lot.length), 0, 0.3)


def _field(lot):
    rng, half = lot.rng, lot.length / 2
    start = rng.choice([0.5, rng.uniform(2, 6)])
    if rng.random() < 0.35:
        lot.paint(SOIL, (-half, half), (start, lot.depth))
    if rng.random() < 0.4:
        lot.put(furniture.fence(rng, lot.length), 0, 0.5)
    for _ in range(rng.integers(0, 8)):
        lot.put(plants.bush(rng, 1.8), rng.uniform(-half, half), rng.uniform(0.8, 6))
    if rng.random() < 0.3:
        _trees(lot, 2, (1.5, lot.depth), 1.3)
    if rng.random() < 0.3:
        _ground_cover(lot, (-half, half), (1.0, 5.0))
    if rng.random() < 0.7:
        lot.put(plants.grove(rng, lot.length, 5), 0, lot.depth - 3)


def _farm(lot):
    """A house close to the road and a barn, a yard between them, a trailer or a lorry in it."""
    rng, half = lot.rng, lot.length / 2
    yard = rng.choice([GRAVEL, DRIVEWAY, SLABS, ASPHALT], p=(0.35, 0.3, 0.15, 0.2))
    front, wide = rng.uniform(0.3, 4.0), min(lot.length * 0.45, 11)
    lot.put(buildings.house(rng, wide, 13.0, rng.integers(1, 3)), -half + wide / 2 + 0.5, front)
    lot.paint(yard, (-half + wide + 1, half - 1), (-0.1, 20))
    lot.put(buildings.hall(rng, lot.length * 0.6, 9.0), half - lot.length * 0.3, 20.5)
    for _ in range(rng.integers(0, 4)):
        make = rng.choice([vehicles.caravan, vehicles.truck, vehicles.car], p=(0.35, 0.15, 0.5))
        place = lot.between(-half + wide + 2.5, half - 2.5), rng.uniform(4, 17)
        lot.put(make(rng), *place, rng.uniform(-np.pi, np.pi))
    wall = half - (wide - half + 6)
    if rng.random() < 0.5 and wall > 3:
        lot.put(furniture.wall(rng, wall), half - wall / 2, 0.3)
    _trees(lot, rng.integers(0, 3), (6, 18))


_BUILD = {
    "garden": _garden,
    "villa": _villa,
    "row": _row,
    "hall": _hall,
    "park": _park,
    "lawn": _lawn,
    "wood": _wood,
    "field": _field,
    "farm": _farm,
    "square": _square,
    "carpark": _carpark,
}


def fill_background(plan: Plan, side: int, taken: Spans) -> None:
    """Behind the lots: woods and the backs of other houses, here and there a gap to see through.

    Args:
        plan: Plan. side: 1 left, -1 right. taken: [(from, to)] along, where side roads run there.
    """
    for along in np.arange(plan.street.first + 8, plan.street.last, 17.0):
        rng, across = plan.rng, side * (DEEP + plan.rng.uniform(6, 16))
        yaw, kind = 0.0 if side > 0 else np.pi, plan.rng.random()
        if any(start - 8 < along < stop + 8 for start, stop in taken):
            continue
        if kind < 0.22:
            house = buildings.house(rng, rng.uniform(10, 16), 9.0, rng.integers(2, 5))
            plan.put(house, along, across, yaw + rng.normal(0, 0.1))
        elif kind < 0.9:
            plan.put(plants.grove(rng, 17, 5), along, across, yaw)
