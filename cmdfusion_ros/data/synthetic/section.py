"""The cross-section of a street, from the middle of the road to the lots, and what stands there."""

from typing import Any

import numpy as np

from cmdfusion_ros.data.synthetic import furniture, lots, plants, roads, vehicles
from cmdfusion_ros.data.synthetic.ground import (
    ASPHALT,
    FOOTWAY,
    GRAVEL,
    LAWN,
    MARKING,
    PARKING,
    PARKING_STONES,
    PATCH,
    SLABS,
)
from cmdfusion_ros.data.synthetic.plan import Plan

_SIDES = (-1, 1)


class Section:
    """One street's section: drawn when made, painted and furnished by `build`.

    Args:
        plan: Plan that it is put into. place: Place.

    Attributes:
        half: metres from the middle to the edge of the carriageway. median: metres, half of the
            strip in its middle, 0 for none. lanes: (L,) metres from the middle of each lane to
            the middle of the road, the same on both sides. parking, verge, walk: {side: metres}.
        edge: {side: metres from the middle to the lots}. kerbless: whether footways lie as low
            as the road. rough: metres, how far lumps of lawns stand out.
    """

    def __init__(self, plan: Plan, place: Any):
        rng = plan.rng
        self.plan, self.place = plan, place
        many = rng.random() < place.lanes
        lane = rng.uniform(*place.lane)
        self.median = rng.uniform(0.5, 2.2) if many and rng.random() < 0.4 else 0.0
        gutter = rng.uniform(0.0, 0.5)
        self.half = self.median + lane * (2 if many else 1) + gutter
        self.lanes = tuple(self.median + lane * (n + 0.47) for n in range(2 if many else 1))

        def drawn(share, least, most):
            return {s: rng.uniform(least, most) if rng.random() < share else 0.0 for s in _SIDES}

        self.parking = drawn(place.parking, 1.9, 2.3)
        self.verge = drawn(place.verge, 0.8, 3.0)
        self.walk = drawn(place.walk, *place.walk_width)
        self.walk_zone = {side: rng.choice([SLABS, FOOTWAY], p=(0.55, 0.45)) for side in _SIDES}
        self.edge = {
            side: self.kerb(side) + roads.KERB_STONE + self.verge[side] + self.walk[side]
            for side in _SIDES
        }
        self.kerbless = rng.random() < place.kerbless
        self.rough = rng.uniform(0.015, 0.08)
        self.roads = roads.draw_side_roads(rng, plan.street, place, self.edge)

    def kerb(self, side: int) -> float:
        """Metres from the middle of the road to the kerb of one side."""
        return self.half + self.parking[side]

    def build(self) -> None:
        """Paint the ground and put up everything."""
        plan = self.plan
        everywhere = (plan.street.first, plan.street.last)
        plan.paint(ASPHALT, everywhere, (-self.half, self.half))
        if self.median:
            self._median(everywhere)
        for side in _SIDES:
            self._paint_side(side, everywhere)
        for side in _SIDES:
            here = [road for road in self.roads if road.side == side]
            gaps = [road.span(self.edge[side], lots.DEEP, 0.5) for road in here]
            lots.fill_lots(plan, side, self.edge[side], self.place.lots, gaps)
            lots.fill_background(
                plan, side, [road.span(lots.DEEP, lots.DEEP + 25) for road in here]
            )
            self._furnish(side)
        for road in self.roads:
            roads.paint_side_road(plan, self, road)
            roads.furnish_side_road(plan, self, road)
        self._mark(everywhere)
        for road in self.roads:
            roads.mark_junction(plan, self, road)

    def _median(self, everywhere):
        """A raised strip between the carriageways, open where side roads meet."""
        plan, rng = self.plan, self.plan.rng
        zone, wide = rng.choice([LAWN, SLABS], p=(0.7, 0.3)), self.median - 0.15
        plan.paint(SLABS, everywhere, (-self.median, self.median))
        plan.paint(zone, everywhere, (-wide, wide))
        grow = rng.uniform(0.5, 1.0) if wide > 0.7 and rng.random() < 0.6 else 0.0
        for along in np.arange(everywhere[0] + 4, everywhere[1], rng.uniform(9, 20)):
            if grow and self.is_free(along):
                plan.put(plants.broadleaf(rng, grow), along, rng.normal(0, 0.1))
            elif wide > 0.7 and self.is_free(along) and rng.random() < 0.4:
                plan.put(plants.bush(rng, 0.6), along, 0.0)
        for road in self.roads:
            start, stop = road.span(0, self.half)
            plan.paint(ASPHALT, (start, stop), (-self.median, self.median))

    def _paint_side(self, side, everywhere):
        rng, at = self.plan.rng, self.half
        if self.parking[side]:
            self._parking_strip(side, at, everywhere)
        else:
            share = rng.choice([0.0, rng.uniform(*self.place.parked) * 0.5])
            self._park(side, *everywhere, share=share)
        at += self.parking[side]
        if self.walk[side]:
            self._paint(SLABS, everywhere, side, at, at + roads.KERB_STONE)
        at += roads.KERB_STONE
        self._paint(LAWN, everywhere, side, at, at + self.verge[side])
        self._plant(side, at)
        at += self.verge[side]
        self._paint(self.walk_zone[side], everywhere, side, at, at + self.walk[side])
        if not self.walk[side] and rng.random() < 0.3:
            self._paint(GRAVEL, everywhere, side, self.half, self.half + rng.uniform(0.4, 1.5))

    def _parking_strip(self, side, at, everywhere):
        """Bays of a parking strip with trees or paving between them."""
        plan, rng = self.plan, self.plan.rng
        zone, share = rng.choice([PARKING, PARKING_STONES]), rng.uniform(*self.place.parked)
        start = everywhere[0]
        while start < everywhere[1]:
            stop = start + rng.uniform(18, 55)
            self._paint(zone, (start, stop), side, at, at + self.parking[side])
            self._park(side, start, stop, share)
            between = rng.choice([LAWN, SLABS])
            self._paint(between, (stop, stop + 4), side, at, at + self.parking[side])
            if rng.random() < 0.7 and self.is_free(stop + 2):
                across = side * (at + self.parking[side] / 2)
                plan.put(plants.broadleaf(rng, 0.9), stop + 2, across)
            start = stop + 4

    def _plant(self, side, near):
        """Bushes or a hedge in the verge of some streets."""
        rng, plan = self.plan.rng, self.plan
        if not self.verge[side] or rng.random() < 0.5:
            return
        middle = side * (near + self.verge[side] / 2)
        if rng.random() < 0.3 and self.verge[side] > 1.4:
            for along in np.arange(plan.street.first, plan.street.last, 11.0):
                if self.is_free(along, 8.0) and rng.random() < 0.6:
                    plan.put(plants.hedge(rng, 10.0, low=True), along, middle)
            return
        for along in np.arange(plan.street.first, plan.street.last, rng.uniform(2.5, 6)):
            if self.is_free(along, 4.0) and rng.random() < 0.7:
                plan.put(plants.bush(rng, 0.55), along, middle)

    def _paint(self, zone, along, side, near, far):
        self.plan.paint(zone, along, sorted((side * near, side * far)))

    def is_free(self, along: float, margin: float = 3.0) -> bool:
        """Whether no side road meets the main one within `margin` metres of a place along it."""
        for road in self.roads:
            start, stop = road.span(self.half, self.half + 4, road.corner * 0.7)
            if start - margin < along < stop + margin:
                return False
        return True

    def _park(self, side, start, stop, share):
        """Cars along the kerb; on the carriageway itself where there is no parking strip."""
        rng, plan = self.plan.rng, self.plan
        # without a strip half on the footway
        across = side * (self.half + (self.parking[side] / 2 or rng.uniform(-0.2, 0.9)))
        along = start + 3.0
        while along < stop - 3.0:
            if rng.random() < share and self.is_free(along, 4.0):
                body = plan.large_or_car(0.05)
                reach = max(part.centre[0] + part.half[0] for part in body)
                yaw = 0.0 if (side < 0) == (rng.random() < 0.9) else np.pi
                if reach < 3.2:
                    place = along, across + rng.normal(0, 0.08)
                    plan.put(body, *place, yaw + rng.normal(0, 0.02))
                elif along + 2 * reach < stop - 3:
                    plan.put(body, along + reach - 2.4, across, yaw)
                    along += 2 * reach - 5
            along += rng.uniform(5.4, 6.4)

    def _furnish(self, side):
        """Trees, lamps, signs, two-wheelers, people and the rest between kerb and lots."""
        plan, rng = self.plan, self.plan.rng
        kerb = self.kerb(side) + roads.KERB_STONE
        first, last = plan.street.first, plan.street.last
        if self.verge[side] or rng.random() < 0.25:
            self._trees(side, kerb)
        if not self.walk[side] and rng.random() < self.place.rail:
            for along in np.arange(first + 6, last - 6, 12.0):
                if self.is_free(along, 7.0):
                    plan.put(furniture.guard_rail(12.0), along, side * (kerb + 0.5))
        wood, yaw = rng.random() < 0.3, 0.0 if side < 0 else np.pi
        for along in np.arange(first + rng.uniform(5, 20), last, rng.uniform(26, 48)):
            if self.is_free(along, 1.0):
                make = furniture.mast if wood else furniture.lamp
                plan.put(make(rng), along, side * (kerb + 0.45), yaw)
        self._signs(side, kerb)
        if rng.random() < 0.1:
            gap = rng.uniform(1.4, 3.0)
            for along in np.arange(first, last, gap):
                if self.is_free(along):
                    plan.put(furniture.bollard(rng), along, side * (kerb + 0.35))
        if self.walk[side]:
            self._on_footway(side, kerb)

    def _trees(self, side, kerb):
        plan, rng = self.plan, self.plan.rng
        across = side * (kerb + (self.verge[side] / 2 or 0.5))
        grow, spacing = rng.uniform(0.6, 1.35), rng.uniform(8, 20)
        make = plants.poplar if rng.random() < 0.15 else plants.broadleaf
        for along in np.arange(plan.street.first + 3, plan.street.last, spacing):
            if rng.random() < 0.85 and self.is_free(along):
                plan.put(make(rng, grow), along + rng.uniform(-1, 1), across)

    def _signs(self, side, kerb):
        plan, rng = self.plan, self.plan.rng
        first, last = plan.street.first, plan.street.last
        for road in self.roads:
            start, stop = road.span(self.half, self.half + 4)
            lit = rng.random() < 0.25
            for along, yaw in ((start - 1.5, np.pi), (stop + 1.5, 0.0)):
                if rng.random() < (0.9 if lit else 0.35):
                    make = furniture.traffic_light if lit else furniture.traffic_sign
                    place = along, side * (kerb + road.corner * 0.3 + 0.4)
                    plan.put(make(rng), *place, yaw + rng.normal(0, 0.15))
        for _ in range(rng.poisson((last - first) / 110 * plan.rare**0.5)):
            along, yaw = rng.uniform(first, last), np.pi if side < 0 else 0.0
            if self.is_free(along, 0.0):
                place = along, side * (kerb + 0.4)
                plan.put(furniture.traffic_sign(rng), *place, yaw + rng.normal(0, 0.15))

    def _on_footway(self, side, kerb):
        """Parked two-wheelers, furniture, bus stops and people."""
        plan, rng = self.plan, self.plan.rng
        first, last = plan.street.first, plan.street.last
        back, per_metre = self.edge[side] - 0.35, (last - first) * plan.rare
        for make, rate in ((vehicles.bicycle, 1 / 170), (vehicles.motorcycle, 1 / 400)):
            for _ in range(rng.poisson(per_metre * rate)):
                along = rng.uniform(first, last)
                if self.is_free(along, 0.0):
                    across = back - rng.uniform(0, 0.3) if rng.random() < 0.6 else kerb + 0.4
                    turn = rng.choice([0.0, np.pi]) + rng.normal(0, 0.2)
                    plan.put(make(rng), along, side * across, turn)
        for _ in range(rng.poisson((last - first) / 38)):
            along = rng.uniform(first, last)
            across = side * (back - 0.1 if rng.random() < 0.7 else kerb + 0.4)
            if self.is_free(along, 0.0):
                turn = rng.choice([0.0, np.pi / 2, np.pi]) + rng.normal(0, 0.2)
                plan.put(furniture.other_object(rng), along, across, turn)
        for _ in range(rng.poisson((last - first) / 260)):
            along = rng.uniform(first, last)
            if self.is_free(along, 4.0) and self.walk[side] > 1.8:
                place = along, side * (back - 0.8)
                plan.put(furniture.bus_stop(rng), *place, 0.0 if side > 0 else np.pi)
        for _ in range(rng.poisson(per_metre * self.place.people / 700)):
            across = rng.uniform(kerb + 0.3, max(back, kerb + 0.4))
            plan.put_people(rng.uniform(first, last), side * across)

    def _mark(self, everywhere):
        """Lines and worn patches."""
        plan, rng = self.plan, self.plan.rng
        for _ in range(rng.poisson((everywhere[1] - everywhere[0]) / 18)):
            along = rng.uniform(*everywhere)
            across = rng.uniform(-self.half, self.half - 1)
            if abs(across) < self.median + 2 and self.median:
                continue
            wide = min(across + rng.uniform(0.4, 1.6), self.half)
            plan.paint(PATCH, (along, along + rng.uniform(0.6, 14)), (across, wide))
        dashed = [0.0] if self.half > 3.0 and not self.median and rng.random() < 0.7 else []
        if len(self.lanes) > 1:
            middle = sum(self.lanes) / 2
            dashed += [-middle, middle]
        for across in dashed:
            for along in np.arange(*everywhere, 9.0):
                if self.is_free(along, 1.0):
                    plan.paint(MARKING, (along, along + 3.5), (across - 0.1, across + 0.1))
        if rng.random() < 0.35:
            for side in _SIDES:
                self._paint(MARKING, everywhere, side, self.half - 0.35, self.half - 0.2)
