"""A street from a seed: its cross-section, what stands in it, who moves in it, and all of it as
Solids at a time.
"""

from dataclasses import dataclass, replace

import numpy as np

from cmdfusion_ros.config import check_settings, setting
from cmdfusion_ros.data.synthetic import furniture, lots, plants, vehicles
from cmdfusion_ros.data.synthetic.ground import (
    ASPHALT,
    FOOTWAY,
    LAWN,
    MARKING,
    PARKING,
    PARKING_STONES,
    PATCH,
    SLABS,
    ZONES,
    Ground,
)
from cmdfusion_ros.data.synthetic.people import Person, bicyclist, motorcyclist
from cmdfusion_ros.data.synthetic.solids import join, place
from cmdfusion_ros.data.synthetic.street import Street
from cmdfusion_ros.geometry.transforms import rigid, yaw_rotation

_THINGS = {10, 11, 13, 15, 18, 20, 30, 31, 32}
# raw ids of SemanticKITTI for what moves
_MOVING = {10: 252, 13: 257, 18: 258, 20: 259, 30: 254, 31: 253, 32: 255}
_WHEELBASE = 2.7  # metres, of the vehicle that carries the sensors


@dataclass(frozen=True)
class WorldSettings:
    """What kind of street is made; everything else follows from the seed."""

    character: str = setting(
        "any", "what lies beside the street", choices=("any", *lots.CHARACTERS)
    )
    rare: float = setting(
        1.0,
        "how many people, two-wheelers, lorries and signs there are, 1 = about as in SemanticKITTI",
        minimum=0.0,
        maximum=50.0,
    )
    traffic: float = setting(
        1.0,
        "how many moving cars there are, 1 = about as in SemanticKITTI",
        minimum=0.0,
        maximum=10.0,
    )
    speed: float = setting(
        0.0,
        "speed of the sensors' vehicle; 0 = from the seed, 4 to 12 m/s",
        unit="m/s",
        minimum=0.0,
        maximum=30.0,
    )

    def __post_init__(self):
        check_settings(self)


@dataclass(frozen=True)
class Actor:
    """A thing that moves along the street.

    Attributes:
        pose_parts: function of a phase in radians -> list of Parts. along, across: metres, at time
            0. speed: m/s along the street, signed.
        step: metres it covers in one turn of the phase. instance: id. gap: length of time axis; see
            `World.solids`.
    """

    pose_parts: object
    along: float
    across: float
    speed: float
    step: float
    instance: int


class Plan:
    """What is being put where while a street is laid out."""

    def __init__(self, rng, street, rare):
        self.rng, self.street, self.rare = rng, street, rare
        self.zones = np.full(street.zone_shape, LAWN, np.uint8)
        self.bodies, self.actors = [], []  # (body, along, across, yaw, instance); Actor
        self._instance = 0

    def paint(self, zone, along, across):
        """Paint a rectangle of road coordinates with a zone of the ground."""
        self.street.paint(self.zones, zone, along, across)

    def put(self, body, along, across, yaw=0.0):
        """Stand a body there; `yaw` from the direction of the road. Things get an instance id."""
        self.bodies.append(
            (
                body,
                along,
                across,
                yaw,
                self.new_instance() if body and body[0].material.raw in _THINGS else 0,
            )
        )

    def new_instance(self):
        """An id that no other thing of this street has."""
        self._instance += 1
        return self._instance

    def put_person(self, along, across):
        """Someone who stands there."""
        self.put(Person(self.rng).standing(), along, across, self.rng.uniform(-np.pi, np.pi))

    def large_or_car(self, share):
        """A car, or with probability `share` times the knob for rare things a van, caravan or
        lorry.
        """
        if self.rng.random() < min(share * self.rare, 0.6):
            return self.rng.choice(
                [vehicles.delivery_van, vehicles.caravan, vehicles.truck], p=(0.35, 0.2, 0.45)
            )(self.rng)
        return vehicles.car(self.rng)

    def move(self, parts, along, across, speed, step=1.0):
        """Let something move; `parts` is a list of Parts or a function of the phase."""
        pose_parts = parts if callable(parts) else lambda phase: parts
        self.actors.append(Actor(pose_parts, along, across, speed, step, self.new_instance()))


class World:
    """A street with everything in it.

    Args:
        rng: numpy Generator; equal states give equal worlds.
        seconds: how long it is driven through.
        settings: WorldSettings.
    """

    def __init__(self, rng, seconds, settings):
        self.settings = settings
        character = (
            settings.character
            if settings.character != "any"
            else str(rng.choice(list(lots.CHARACTERS), p=(0.45, 0.28, 0.27)))
        )
        self.speed = settings.speed or float(rng.uniform(4, 12))
        self.street = Street(rng, self.speed * seconds, rng.uniform(0.002, 1 / 75))
        plan = Plan(rng, self.street, settings.rare)
        section = _Section(plan, character)
        self.lane = 0.45 * section.half
        section.build()
        _add_traffic(plan, section, self.speed, seconds, settings)
        self.ground = Ground(
            self.street, self._heights(rng, section), plan.zones, float(rng.uniform(0.04, 0.15))
        )
        self._actors = plan.actors
        self.static = join(
            [
                place(body, self._stand(along, across, yaw), instance)
                for body, along, across, yaw, instance in plan.bodies
            ]
        )
        self._sway = rng.uniform(0, 2 * np.pi, 2)
        # how much brighter a LiDAR sees each kind of ground than usual
        self.ground_tone = np.exp(rng.normal(0, 0.15, len(ZONES))).astype(np.float32)

    def _heights(self, rng, section):
        """Heights of the metre grid: long hills, the crown of the road, banks beside it, and the
        lumps of lawns.
        """
        along, across = self.street.along, self.street.across
        hills = sum(
            rng.uniform(0.05, 0.3) * np.sin(2 * np.pi * along / wave + rng.uniform(0, 6.3))
            for wave in (70.0, 130.0)
        )
        height = hills - 0.02 * np.minimum(np.abs(across), section.half)
        for side in (-1, 1):
            beyond = np.clip(side * across - section.edge[side] - 0.5, 0, 25)
            height += rng.uniform(-0.05, 0.14 if section.character != "green" else 0.3) * beyond
        off_road = np.clip((np.abs(across) - min(section.edge.values())) / 3, 0, 1)
        return (
            height
            + off_road * rng.normal(0, 0.045, height.shape)
            + 0.006 * rng.normal(0, 1, height.shape) * (1 - off_road)
        )

    def _stand(self, along, across, yaw):
        pose = self.street.pose(along, across, yaw)
        pose[2, 3] = self.ground.height(pose[0, 3], pose[1, 3])
        return pose

    def solids(self, seconds):
        """All bodies at a time, in seconds after the start: Solids, with velocities."""
        moving = []
        for actor in self._actors:
            pose = self._stand(
                actor.along + actor.speed * seconds,
                actor.across,
                0.0 if actor.speed >= 0 else np.pi,
            )
            phase = 2 * np.pi * actor.speed * seconds / actor.step + actor.instance
            velocity = actor.speed * np.array(
                [
                    np.cos(heading := self.street.heading(actor.along + actor.speed * seconds)),
                    np.sin(heading),
                    0.0,
                ]
            )
            solids = place(actor.pose_parts(phase), pose, actor.instance, velocity)
            moving.append(
                replace(
                    solids,
                    raw=np.array([_MOVING.get(raw, raw) for raw in solids.raw.tolist()], np.uint16),
                )
            )
        return join([self.static, *moving])

    def vehicle(self, seconds):
        """world_from_vehicle at a time: the middle between the axles on the road, x forward;
        pitch follows the road and the springs.
        """
        along, across = self.speed * seconds, -self.lane
        pose = self.street.pose(along, across)
        x, y = pose[:2, 3]
        forward = pose[:2, 0]
        ends = [
            self.ground.smooth(
                *(
                    np.array([value], np.float32)
                    for value in (x, y) + sign * _WHEELBASE / 2 * forward
                )
            )[0][0]
            for sign in (1, -1)
        ]
        pitch = -np.arctan2(ends[0] - ends[1], _WHEELBASE) + 0.003 * np.sin(
            7 * seconds + self._sway[0]
        )
        roll = 0.004 * np.sin(5 * seconds + self._sway[1])
        turn = yaw_rotation(np.arctan2(pose[1, 0], pose[0, 0])) @ _pitch(pitch) @ _roll(roll)
        return rigid(turn, (x, y, (ends[0] + ends[1]) / 2))

    def motion(self, seconds):
        """(velocity (3,) m/s in the world, yaw rate rad/s) of the vehicle."""
        before, after = self.vehicle(seconds - 0.05), self.vehicle(seconds + 0.05)
        return (after[:3, 3] - before[:3, 3]) / 0.1, self.speed * self.street.curvature(
            self.speed * seconds
        )


def _pitch(angle):
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def _roll(angle):
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


class _Section:
    """The cross-section of a street and what stands between road and lots."""

    def __init__(self, plan, character):
        rng = plan.rng
        self.plan, self.character = plan, character
        self.half = rng.uniform(2.9, 3.7) if character != "town" else rng.uniform(3.0, 4.4)
        self.parking = {
            side: rng.uniform(1.9, 2.2)
            if rng.random() < {"suburb": 0.22, "town": 0.5, "green": 0.05}[character]
            else 0.0
            for side in (-1, 1)
        }
        self.verge = {
            side: rng.uniform(1.2, 2.5) if rng.random() < 0.4 else 0.0 for side in (-1, 1)
        }
        self.walk = {
            side: rng.uniform(1.6, 3.4)
            if rng.random() < {"green": 0.5}.get(character, 0.97)
            else 0.0
            for side in (-1, 1)
        }
        self.edge = {
            side: self.half + self.parking[side] + self.verge[side] + self.walk[side] + 0.15
            for side in (-1, 1)
        }
        first, last = plan.street.first, plan.street.last
        self.gaps = [
            (at - 6.0, at + 6.0)
            for at in np.arange(first + rng.uniform(30, 110), last - 20, rng.uniform(90, 160))
        ]

    def build(self):
        """Paint the ground and put up everything."""
        plan, street = self.plan, self.plan.street
        everywhere = (street.first, street.last)
        plan.paint(ASPHALT, everywhere, (-self.half, self.half))
        for side in (-1, 1):
            self._paint_side(side, everywhere)
        for side in (-1, 1):
            lots.fill_lots(plan, side, self.edge[side], self.character, self.gaps)
            lots.fill_background(plan, side)
            self._furnish(side)
        for start, stop in self.gaps:
            plan.paint(SLABS, (start, stop), (-70, -self.half - 0.5))
            plan.paint(SLABS, (start, stop), (self.half + 0.5, 70))
            plan.paint(ASPHALT, (start + 2.5, stop - 2.5), (-75, 75))
        self._mark(everywhere)

    def _paint_side(self, side, everywhere):
        plan, rng = self.plan, self.plan.rng
        at = self.half
        if self.parking[side]:
            zone = rng.choice([PARKING, PARKING_STONES])
            start = everywhere[0]
            while start < everywhere[1]:
                stop = start + rng.uniform(18, 55)
                self._paint(zone, (start, stop), side, at, at + self.parking[side])
                self._park(side, start, stop)
                self._paint(
                    rng.choice([LAWN, SLABS]), (stop, stop + 4), side, at, at + self.parking[side]
                )
                if rng.random() < 0.7:
                    plan.put(
                        plants.broadleaf(rng, 0.8), stop + 2, side * (at + self.parking[side] / 2)
                    )
                start = stop + 4
        else:
            self._park(side, *everywhere, share=rng.choice([0.0, 0.06, 0.2]))
        at += self.parking[side]
        self._paint(SLABS, everywhere, side, at, at + 0.15)  # the kerb stones
        at += 0.15
        self._paint(LAWN, everywhere, side, at, at + self.verge[side])
        self._plant(side, at)
        at += self.verge[side]
        self._paint(
            rng.choice([SLABS, FOOTWAY], p=(0.6, 0.4)), everywhere, side, at, at + self.walk[side]
        )

    def _plant(self, side, near):
        """Bushes in the verge of some streets."""
        rng, plan = self.plan.rng, self.plan
        if self.verge[side] and rng.random() < 0.5:
            for along in np.arange(plan.street.first, plan.street.last, rng.uniform(2.5, 6)):
                if self._free(along, 4.0) and rng.random() < 0.7:
                    plan.put(plants.bush(rng, 0.55), along, side * (near + self.verge[side] / 2))

    def _paint(self, zone, along, side, near, far):
        self.plan.paint(zone, along, sorted((side * near, side * far)))

    def _free(self, along, margin=3.0):
        return not any(start - margin < along < stop + margin for start, stop in self.gaps)

    def _park(self, side, start, stop, share=None):
        """Cars along the kerb from `start` to `stop`; on the road itself where there is no parking
        strip.
        """
        rng, plan = self.plan.rng, self.plan
        share = rng.uniform(0.2, 0.7) if share is None else share
        # without a strip, half on the footway
        across = side * (self.half + (self.parking[side] / 2 or 0.6))
        along = start + 3.0
        while along < stop - 3.0:
            if rng.random() < share and self._free(along, 5.0):
                body = plan.large_or_car(0.05)
                reach = max(part.centre[0] + part.half[0] for part in body)
                if reach < 3.2:
                    plan.put(
                        body,
                        along,
                        across + rng.normal(0, 0.08),
                        (0 if side < 0 else np.pi) + rng.normal(0, 0.02),
                    )
                elif along + 2 * reach < stop - 3:
                    plan.put(body, along + reach - 2.4, across, 0 if side < 0 else np.pi)
                    along += 2 * reach - 5
            along += rng.uniform(5.4, 6.4)

    def _furnish(self, side):
        """Trees, lamps, signs, parked two-wheelers and people between kerb and lots."""
        plan, rng = self.plan, self.plan.rng
        kerb = self.half + self.parking[side] + 0.15
        back = self.edge[side] - 0.35
        first, last = plan.street.first, plan.street.last
        if self.verge[side] or rng.random() < 0.2:
            across = side * (kerb + (self.verge[side] / 2 if self.verge[side] else 0.5))
            grow, spacing = rng.uniform(0.6, 1.0), rng.uniform(10, 20)
            for along in np.arange(first + 3, last, spacing):
                if rng.random() < 0.8 and self._free(along):
                    plan.put(plants.broadleaf(rng, grow), along + rng.uniform(-1, 1), across)
        if not self.walk[side] and rng.random() < 0.5:
            for along in np.arange(first + 6, last - 6, 12.0):
                if self._free(along, 7.0):
                    plan.put(furniture.guard_rail(12.0), along, side * (kerb + 0.5))
        wood = rng.random() < 0.3
        for along in np.arange(first + rng.uniform(5, 20), last, rng.uniform(30, 48)):
            if self._free(along):
                plan.put(
                    furniture.mast(rng) if wood else furniture.lamp(rng),
                    along,
                    side * (kerb + 0.45),
                    0.0 if side < 0 else np.pi,
                )
        for start, stop in self.gaps:
            for along, yaw in ((start - 1.0, np.pi), (stop + 1.0, 0.0)):
                if rng.random() < 0.4:
                    plan.put(
                        furniture.traffic_sign(rng),
                        along,
                        side * (kerb + 0.4),
                        yaw + rng.normal(0, 0.15),
                    )
        for _ in range(rng.poisson((last - first) / 130 * plan.rare**0.5)):
            plan.put(
                furniture.traffic_sign(rng),
                rng.uniform(first, last),
                side * (kerb + 0.4),
                (np.pi if side < 0 else 0) + rng.normal(0, 0.15),
            )
        if rng.random() < 0.06:
            for along in np.arange(first, last, 3.0):
                if self._free(along):
                    plan.put(furniture.bollard(rng), along, side * (kerb + 0.35))
        if self.walk[side]:
            per_metre = (last - first) * plan.rare
            for make, rate in ((vehicles.bicycle, 1 / 170), (vehicles.motorcycle, 1 / 400)):
                for _ in range(rng.poisson(per_metre * rate)):
                    along = rng.uniform(first, last)
                    if self._free(along):
                        plan.put(
                            make(rng),
                            along,
                            side * (back - rng.uniform(0, 0.3)),
                            rng.choice([0.0, np.pi]) + rng.normal(0, 0.2),
                        )
            for _ in range(rng.poisson((last - first) / 30)):
                along, across = (
                    rng.uniform(first, last),
                    side * (back - 0.1 if rng.random() < 0.7 else kerb + 0.4),
                )
                if self._free(along):
                    plan.put(
                        furniture.other_object(rng),
                        along,
                        across,
                        rng.choice([0.0, np.pi]) + rng.normal(0, 0.2),
                    )
            for _ in range(rng.poisson(per_metre / 900)):
                plan.put_person(rng.uniform(first, last), side * rng.uniform(kerb + 0.3, back))

    def _mark(self, everywhere):
        """Lines, worn patches, and a zebra crossing here and there."""
        plan, rng = self.plan, self.plan.rng
        for _ in range(rng.poisson((everywhere[1] - everywhere[0]) / 18)):
            along, across = rng.uniform(*everywhere), rng.uniform(-self.half, self.half - 1)
            plan.paint(
                PATCH,
                (along, along + rng.uniform(0.6, 14)),
                (across, min(across + rng.uniform(0.4, 1.6), self.half)),
            )
        if self.half > 3.3 and rng.random() < 0.75:
            for along in np.arange(*everywhere, 9.0):
                if self._free(along, 1.0):
                    plan.paint(MARKING, (along, along + 3.5), (-0.06, 0.06))
        if rng.random() < 0.35:
            for side in (-1, 1):
                self._paint(MARKING, everywhere, side, self.half - 0.35, self.half - 0.23)
        for start, _ in self.gaps:
            if rng.random() < 0.5:
                for across in np.arange(-self.half + 0.3, self.half - 0.3, 1.0):
                    plan.paint(MARKING, (start - 3.5, start - 0.5), (across, across + 0.5))
            else:
                plan.paint(MARKING, (start - 0.5, start - 0.1), (-self.half, 0))


def _add_traffic(plan, section, speed, seconds, settings):
    """Who moves: cars at one speed a lane, so that none runs into another; riders at the road's
    edge; walkers on the footways.
    """
    rng, rare = plan.rng, settings.rare
    lane, reach = 0.45 * section.half, speed * seconds
    along = rng.uniform(12, 40)
    while along < reach * 0.2 + 90:
        if rng.random() < 0.3 * settings.traffic:
            plan.move(_vehicle(plan, rng), along, -lane, speed)
        along += rng.uniform(14, 40)
    if rng.random() < 0.3 * settings.traffic:
        plan.move(vehicles.car(rng), -rng.uniform(12, 25), -lane, speed)
    oncoming, along = rng.uniform(6, 13), rng.uniform(5, 60)
    while along < reach + oncoming * seconds + 80:
        if rng.random() < 0.5 * settings.traffic:
            plan.move(_vehicle(plan, rng), along, lane, -oncoming)
        along += rng.uniform(18, 70)
    span = reach + 100
    for _ in range(rng.poisson(span * rare / 2200)):
        plan.move(
            bicyclist(rng),
            rng.uniform(0, span),
            -section.half + 0.3,
            rng.uniform(3, min(6, max(speed - 0.5, 3.5))),
            4.5,
        )
    for _ in range(rng.poisson(span * rare / 2200)):
        plan.move(
            bicyclist(rng),
            rng.uniform(0, span * 1.3),
            section.half - 0.35,
            -rng.uniform(3.5, 6),
            4.5,
        )
    for _ in range(rng.poisson(span * rare / 1500)):
        plan.move(
            motorcyclist(rng),
            rng.uniform(8, 30),
            -lane + rng.uniform(-0.5, 0.5),
            speed + rng.uniform(-0.5, 1.0),
        )
    for side in (-1, 1):
        if not section.walk[side]:
            continue
        far = section.edge[side] - 0.6
        for _ in range(rng.poisson(span * rare / 400)):
            person = Person(rng)
            across = side * rng.uniform(
                far - section.walk[side] + 0.8, max(far, far - section.walk[side] + 0.9)
            )
            plan.move(
                person.walking,
                rng.uniform(-20, span),
                across,
                rng.choice([-1, 1]) * rng.uniform(0.8, 1.7),
                1.5 * person.height / 1.7,
            )


def _vehicle(plan, rng):
    if rng.random() < min(0.10 * plan.rare, 0.6):
        return rng.choice([vehicles.truck, vehicles.bus, vehicles.delivery_van], p=(0.4, 0.2, 0.4))(
            rng
        )
    return vehicles.car(rng)
