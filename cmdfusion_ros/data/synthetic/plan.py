"""What is put where while a street is laid out."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from cmdfusion_ros.data.synthetic import vehicles
from cmdfusion_ros.data.synthetic.ground import LAWN
from cmdfusion_ros.data.synthetic.people import Person
from cmdfusion_ros.data.synthetic.solids import Solid
from cmdfusion_ros.data.synthetic.street import Street

_THINGS = {10, 11, 13, 15, 18, 20, 30, 31, 32}


@dataclass(frozen=True)
class Actor:
    """A thing that moves along the street.

    Attributes:
        pose_parts: function of a phase in radians -> list of Parts. along, across: metres, at
            time 0. speed: m/s along the street, signed. step: metres it covers in one turn of the
            phase. instance: id.
    """

    pose_parts: Callable
    along: float
    across: float
    speed: float
    step: float
    instance: int


Shares = Mapping[str, float]  # {kind of lot: its share}
Spans = Iterable[tuple[float, float]]  # (from, to) along


class Plan:
    """Ground, bodies and actors of a street while it is laid out.

    Args:
        rng: numpy Generator. street: Street. rare: knob for rare things, see WorldSettings.

    Attributes:
        zones: map of zones, see `Street.zone_shape`. actors: list of Actor.
        bodies: list of (body, along, across, yaw, instance).
    """

    def __init__(self, rng: np.random.Generator, street: Street, rare: float):
        self.rng, self.street, self.rare = rng, street, rare
        self.zones = np.full(street.zone_shape, LAWN, np.uint8)
        self.bodies, self.actors = [], []
        self._instance = 0

    def paint(self, zone: int, along: tuple[float, float], across: tuple[float, float]) -> None:
        """Paint a rectangle of road coordinates with a zone of the ground."""
        self.street.paint(self.zones, zone, along, across)

    def put(self, body: list[Solid], along: float, across: float, yaw: float = 0.0) -> None:
        """Stand a body there; `yaw` from the road's direction. Things get an instance id."""
        thing = body and body[0].material.raw in _THINGS
        self.bodies.append((body, along, across, yaw, self.new_instance() if thing else 0))

    def new_instance(self) -> int:
        """An id that no other thing of this street has."""
        self._instance += 1
        return self._instance

    def put_people(self, along: float, across: float) -> None:
        """Someone who stands there, or a group."""
        rng = self.rng
        count = 1 if rng.random() < 0.6 else int(rng.integers(2, 6))
        for number in range(count):
            angle, away = rng.uniform(0, 2 * np.pi), 0.55 * number**0.5
            place = along + away * np.cos(angle), across + 0.6 * away * np.sin(angle)
            self.put(Person(rng).standing(), *place, rng.uniform(-np.pi, np.pi))

    def large_or_car(self, share: float) -> list[Solid]:
        """A car, or with probability `share` times the root of the knob for rare things something
        larger: their points are many, and where they are common a wall looks like one.
        """
        if self.rng.random() < min(share * self.rare**0.5, 0.6):
            kinds = [vehicles.delivery_van, vehicles.caravan, vehicles.truck]
            return self.rng.choice(kinds, p=(0.35, 0.2, 0.45))(self.rng)
        return vehicles.car(self.rng)

    def move(
        self,
        parts: list[Solid] | Callable[[float], list[Solid]],
        along: float,
        across: float,
        speed: float,
        step: float = 1.0,
    ) -> None:
        """Let something move; `parts` is a list of Parts or a function of the phase."""
        pose_parts = parts if callable(parts) else lambda phase: parts
        actor = Actor(pose_parts, along, across, speed, step, self.new_instance())
        self.actors.append(actor)
