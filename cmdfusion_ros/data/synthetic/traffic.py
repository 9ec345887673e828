"""Who moves along a street: cars, lorries, buses, riders, walkers."""

from typing import Any

from cmdfusion_ros.data.synthetic import vehicles
from cmdfusion_ros.data.synthetic.people import Person, bicyclist, motorcyclist
from cmdfusion_ros.data.synthetic.plan import Plan
from cmdfusion_ros.data.synthetic.section import Section


def add_traffic(
    plan: Plan, section: Section, own_lane: float, speed: float, seconds: float, settings: Any
) -> None:
    """Let things move: all cars of a lane at one speed, so that none runs into another.

    Args:
        plan: Plan. section: Section. own_lane: row of its lanes that the sensors' vehicle takes.
        speed: of that vehicle, m/s. seconds: of the drive. settings: WorldSettings.
    """
    rng, reach = plan.rng, speed * seconds
    for number, lane in enumerate(section.lanes):
        own = number == own_lane
        ahead = speed if own else rng.uniform(0.7, 1.3) * max(speed, 4)
        along = rng.uniform(12, 40) if own else rng.uniform(-60, 20)
        while along < reach * 0.2 + 90:
            if rng.random() < 0.3 * settings.traffic:
                plan.move(_vehicle(plan, rng), along, -lane, ahead)
            along += rng.uniform(14, 40)
        if own and rng.random() < 0.3 * settings.traffic:
            plan.move(vehicles.car(rng), -rng.uniform(12, 25), -lane, speed)
        oncoming, along = rng.uniform(6, 13), rng.uniform(5, 60)
        while along < reach + oncoming * seconds + 80:
            if rng.random() < 0.5 * settings.traffic:
                plan.move(_vehicle(plan, rng), along, lane, -oncoming)
            along += rng.uniform(18, 70)
    _add_riders(plan, section, own_lane, speed, reach + 100)
    for side in (-1, 1):
        if section.walk[side]:
            _add_walkers(plan, section, side, reach + 100)


def _add_riders(plan, section, own_lane, speed, span):
    rng, rare = plan.rng, plan.rare
    for _ in range(rng.poisson(span * rare / 1500)):
        pace = rng.uniform(3, min(6, max(speed - 0.5, 3.5)))
        plan.move(bicyclist(rng), rng.uniform(0, span), -section.half + 0.3, pace, 4.5)
    for _ in range(rng.poisson(span * rare / 1500)):
        pace = -rng.uniform(3.5, 6)
        plan.move(bicyclist(rng), rng.uniform(0, span * 1.3), section.half - 0.35, pace, 4.5)
    for _ in range(rng.poisson(span * rare / 1500)):
        across = -section.lanes[own_lane] + rng.uniform(-0.5, 0.5)
        plan.move(motorcyclist(rng), rng.uniform(8, 30), across, speed + rng.uniform(-0.5, 1.0))


def _add_walkers(plan, section, side, span):
    """People who walk, alone or side by side."""
    rng, far = plan.rng, section.edge[side] - 0.6
    near = far - section.walk[side] + 0.8
    for _ in range(rng.poisson(span * plan.rare * section.place.people / 400)):
        along, pace = rng.uniform(-20, span), rng.choice([-1, 1]) * rng.uniform(0.8, 1.7)
        across = rng.uniform(near, max(far, near + 0.1))
        for number in range(1 + (rng.random() < 0.3) + (rng.random() < 0.1)):
            person = Person(rng)
            step = 1.5 * person.height / 1.7
            place = along + rng.normal(0, 0.3), side * (across + 0.6 * number)
            plan.move(person.walking, *place, pace, step)


def _vehicle(plan, rng):
    if rng.random() < min(0.10 * plan.rare**0.5, 0.6):
        kinds = [vehicles.truck, vehicles.bus, vehicles.delivery_van]
        return rng.choice(kinds, p=(0.4, 0.2, 0.4))(rng)
    return vehicles.car(rng)
