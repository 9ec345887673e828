"""A street from a seed: what stands in it, who moves in it, and all of it as Solids at a time."""

from dataclasses import dataclass, replace

import numpy as np

from cmdfusion_ros.config import check_settings, setting
from cmdfusion_ros.data.synthetic.ground import LAWN, SOIL, ZONES, Ground
from cmdfusion_ros.data.synthetic.places import PLACE_SHARES, PLACES
from cmdfusion_ros.data.synthetic.plan import Plan
from cmdfusion_ros.data.synthetic.section import Section
from cmdfusion_ros.data.synthetic.solids import Solids, join, place
from cmdfusion_ros.data.synthetic.street import Street
from cmdfusion_ros.data.synthetic.traffic import add_traffic
from cmdfusion_ros.geometry.transforms import pitch_rotation, rigid, roll_rotation, yaw_rotation

# Raw ids of SemanticKITTI for what moves.
_MOVING = {10: 252, 13: 257, 18: 258, 20: 259, 30: 254, 31: 253, 32: 255}
_WHEELBASE = 2.7  # metres, of the vehicle that carries the sensors
_KERBS = (0.04, 0.17)  # metres; a kerbless street has a tenth of it
_LOWERED = 0.35  # share of a street's length where a kerb is lower than elsewhere


@dataclass(frozen=True)
class WorldSettings:
    """What kind of street is made; everything else follows from the seed."""

    place: str = setting("any", "what kind of street", choices=("any", *PLACES))
    rare: float = setting(
        1.0,
        "how many people, two-wheelers, lorries and signs, 1 = about as in SemanticKITTI",
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

    def __post_init__(self) -> None:
        check_settings(self)


class World:
    """A street with everything in it.

    Args:
        rng: numpy Generator; equal states give equal worlds.
        seconds: how long it is driven through.
        settings: WorldSettings.
    """

    def __init__(self, rng: np.random.Generator, seconds: float, settings: WorldSettings):
        self.settings = settings
        name = settings.place
        if name == "any":
            name = str(rng.choice(list(PLACE_SHARES), p=list(PLACE_SHARES.values())))
        self.place = PLACES[name]
        self.speed = settings.speed or float(rng.uniform(4, 12))
        self.street = Street(rng, self.speed * seconds, rng.uniform(0.002, 1 / 75))
        plan = Plan(rng, self.street, settings.rare)
        section = Section(plan, self.place)
        own_lane = int(rng.integers(len(section.lanes)))
        self.lane = section.lanes[own_lane]
        section.build()
        add_traffic(plan, section, own_lane, self.speed, seconds, settings)
        self.ground = Ground(
            self.street, self._heights(rng, plan, section), plan.zones, self._kerbs(rng, section)
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
        self.ground_tone = np.exp(rng.normal(0, 0.2, len(ZONES))).astype(np.float32)

    def _heights(self, rng, plan, section):
        """Heights of the metre grid: hills, the crown of the road, banks, ditches, lumpy lawns."""
        along, across = self.street.along, self.street.across
        waves = (70.0, 130.0)
        hills = sum(
            rng.uniform(0.05, 0.6) * np.sin(2 * np.pi * along / wave + rng.uniform(0, 6.3))
            for wave in waves
        )
        height = hills - 0.02 * np.minimum(np.abs(across), section.half)
        height += rng.normal(0, 0.012) * across  # the whole street leans
        green = np.isin(plan.zones[self.street.bins(along, across)], (LAWN, SOIL))
        for side in (-1, 1):
            away = side * across - section.edge[side]
            height += rng.uniform(*self.place.slope) * np.clip(away - 0.5, 0, 25)
            if rng.random() < self.place.ditch:
                deep, middle = rng.uniform(0.2, 0.9), rng.uniform(1.5, 3.0)
                height -= green * deep * np.exp(-(((away - middle) / 0.9) ** 2))
        lift = rng.uniform(-0.03, 0.08)  # lawns lie higher or lower than the footway beside them
        lumps = section.rough * rng.normal(0, 1, height.shape)
        return height + np.where(green, lift + lumps, 0.006 * rng.normal(0, 1, height.shape))

    def _kerbs(self, rng, section):
        """Heights of the kerbs at the nodes of the metre grid: each side its own, lowered to a
        fifth here and there, as at drives and crossings.
        """
        along, across = self.street.along, self.street.across
        kerb = float(rng.uniform(*_KERBS)) * (0.1 if section.kerbless else 1.0)
        stations = np.arange(along.min(), along.max() + 6.0, 3.0)
        heights = np.zeros_like(along)
        for side in (-1, 1):
            lowered = rng.random(len(stations)) < _LOWERED
            height = kerb * rng.uniform(0.7, 1.2) * np.where(lowered, 0.2, 1.0)
            heights += (side * across > 0) * np.interp(along, stations, height)
        return heights

    def _stand(self, along, across, yaw):
        pose = self.street.pose(along, across, yaw)
        pose[2, 3] = self.ground.height(pose[0, 3], pose[1, 3])
        return pose

    def solids(self, seconds: float) -> Solids:
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

    def vehicle(self, seconds: float) -> np.ndarray:
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
        turn = (
            yaw_rotation(np.arctan2(pose[1, 0], pose[0, 0]))
            @ pitch_rotation(pitch)
            @ roll_rotation(roll)
        )
        return rigid(turn, (x, y, (ends[0] + ends[1]) / 2))

    def motion(self, seconds: float) -> tuple[np.ndarray, float]:
        """(velocity (3,) m/s in the world, yaw rate rad/s) of the vehicle."""
        before, after = self.vehicle(seconds - 0.05), self.vehicle(seconds + 0.05)
        return (after[:3, 3] - before[:3, 3]) / 0.1, self.speed * self.street.curvature(
            self.speed * seconds
        )
