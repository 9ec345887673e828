"""Simulates a LiDAR and its cameras, and prints how many images each cloud gets, how near they are
and how long the cloud waits for them.

    python benchmarks/pairing_simulation.py [--json] [--seconds 60] [--seeds 1]

Discrete events, no real time: a minute of six cameras takes about a second. Latencies are Gaussian,
clocks do not drift.
"""

import argparse
import json
import random
import statistics
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from cmdfusion_ros.config import LiveSettings
from cmdfusion_ros.pairing.paired_cloud import PairedCloud
from cmdfusion_ros.pairing.pairing import CloudAnchoredPairing
from cmdfusion_ros.pairing.settings import CameraTiming, PairingSettings, SyncSettings

MS = 1_000_000
SECOND = 1000 * MS
BEGIN = 1_700_000_000 * SECOND  # ROS time at steady time 0
TICK = 5 * MS


@dataclass(frozen=True)
class Arrival:
    """A message on its way: `time` is the steady time (ns) of its arrival, `camera` None for a
    cloud.
    """

    time: int
    camera: str | None
    stamp: int
    payload: object = None


@dataclass(frozen=True)
class Action:
    """Something done to the pairing at a steady time: `do(pairing)`."""

    time: int
    do: Callable[[CloudAnchoredPairing], object]


@dataclass
class Played:
    """What a pairing made of the arrivals: (steady time, PairedCloud) in the order of release,
    its resets, and itself.
    """

    released: list[tuple[int, PairedCloud]] = field(default_factory=list)
    resets: list[tuple[int, str]] = field(default_factory=list)
    pairing: CloudAnchoredPairing | None = None

    @property
    def clouds(self) -> list[PairedCloud]:
        return [paired for _, paired in self.released]


class SimulatedClock:
    """Steady time is set by the simulation; ROS time is a function of it."""

    def __init__(self, ros_from_steady: Callable[[int], int] = lambda steady: BEGIN + steady):
        self.steady = 0
        self._ros_from_steady = ros_from_steady

    def now_ros(self) -> int:
        return self._ros_from_steady(self.steady)

    def now_steady(self) -> int:
        return self.steady


def play(
    settings: PairingSettings,
    happenings: Iterable[Arrival | Action],
    tick: int | None = TICK,
    clock: SimulatedClock | None = None,
    ready: bool = True,
    until: int | None = None,
) -> Played:
    """Give Arrivals and Actions to a pairing in order of time, with ticks every `tick` ns while
    clouds wait (None: no ticks). Returns Played.

    `ready`: the cameras are calibrated from the start. `until`: go on ticking to this steady time;
    by default two seconds beyond the last happening.
    """
    clock = clock or SimulatedClock()
    played = Played()
    pairing = CloudAnchoredPairing(
        LiveSettings(settings),
        clock,
        lambda paired: played.released.append((clock.steady, paired)),
        lambda epoch, reason: played.resets.append((clock.steady, reason)),
    )
    played.pairing = pairing
    for camera in settings.cameras:
        pairing.set_camera_ready(camera, ready, ready)
    ordered = sorted(happenings, key=lambda happening: happening.time)
    end = until if until is not None else (ordered[-1].time if ordered else 0) + 2 * SECOND
    for happening in ordered:
        _tick_until(pairing, clock, happening.time, tick)
        clock.steady = happening.time
        if isinstance(happening, Action):
            happening.do(pairing)
        elif happening.camera is None:
            pairing.on_cloud(happening.stamp, happening.payload)
        else:
            pairing.on_image(happening.camera, happening.stamp, happening.payload)
    _tick_until(pairing, clock, end, tick)
    if tick is None:
        clock.steady = end
        pairing.on_tick()
    return played


def _tick_until(
    pairing: CloudAnchoredPairing, clock: SimulatedClock, end: int, tick: int | None
) -> None:
    while tick and pairing.num_pending and clock.steady // tick * tick + tick < end:
        clock.steady = clock.steady // tick * tick + tick
        pairing.on_tick()


def sensor(
    camera: str | None,
    hertz: float,
    latency_ms: float,
    jitter_ms: float,
    seconds: float,
    rng: random.Random,
    phase: float | None = None,
    offset_ms: float = 0.0,
    stamp_jitter_ms: float = 0.0,
    drop: float = 0.0,
    silent: tuple[float, ...] = (),
) -> Iterator[Arrival]:
    """Arrivals of one sensor, in order of stamp.

    Args:
        camera: None for the LiDAR.
        latency_ms, jitter_ms: mean and standard deviation of arrival minus stamp; never below zero.
        phase: 0..1 of the period at which it begins; None = random.
        offset_ms, stamp_jitter_ms: added to all stamps; standard deviation of more.
        drop: share of messages lost. silent: (begin, end) in seconds, nothing is sent between.
    """
    period = 1.0 / hertz
    last = 0  # transports keep the order of a topic
    begin = (rng.random() if phase is None else phase) * period
    for index in range(int(seconds * hertz)):
        moment = begin + index * period
        stamp = round((moment + (offset_ms + rng.gauss(0, stamp_jitter_ms)) / 1000) * SECOND)
        latency = max(0.0, rng.gauss(latency_ms, jitter_ms))
        lost = rng.random() < drop
        if lost or (silent and silent[0] <= moment < silent[1]):
            continue
        last = max(last + 1, stamp + round(latency * MS))
        yield Arrival(last, camera, BEGIN + stamp, (camera, index))


CAMERAS = ("front", "front_left", "front_right", "back", "back_left", "back_right")
TRIGGER_OFFSETS_MS = (-50.0, -40.0, -30.0, -20.0, -10.0, 0.0)


@dataclass(frozen=True)
class Scenario:
    """Six cameras and a 10 Hz LiDAR with 25 +- 5 ms latency; the fields say what is special."""

    name: str
    hertz: float = 12.0
    triggered: bool = False  # by the LiDAR: 10 Hz, fixed offsets, which are set
    max_wait: float = 0.06
    tolerance: float = 0.05
    dead: int = 0
    drop: float = 0.0
    late_ms: float = 0.0  # of the first camera
    silent: tuple[float, ...] = ()  # of the first camera


def arrivals_of(scenario: Scenario, seconds: float, seed: int) -> list[Arrival]:
    """All Arrivals of a scenario."""
    rng = random.Random(seed)
    happenings = list(sensor(None, 10.0, 25, 5, seconds, rng, phase=1.0))
    for place, camera in enumerate(CAMERAS):
        first = place == 0
        latency = 45 + (scenario.late_ms if first else 0)
        silent = scenario.silent if first else ()
        if place < scenario.dead:
            continue
        if scenario.triggered:
            offset = TRIGGER_OFFSETS_MS[place]
            happenings += sensor(
                camera, 10.0, latency, 15, seconds, rng, 1.0, offset, 1.0, scenario.drop, silent
            )
        else:
            happenings += sensor(
                camera, scenario.hertz, latency, 15, seconds, rng, drop=scenario.drop, silent=silent
            )
    return sorted(happenings, key=lambda arrival: arrival.time)


def settings_of(scenario: Scenario) -> PairingSettings:
    """PairingSettings of a scenario."""
    offsets = [offset / 1000 if scenario.triggered else 0.0 for offset in TRIGGER_OFFSETS_MS]
    cameras = {
        camera: CameraTiming(time_offset=offset)
        for camera, offset in zip(CAMERAS, offsets, strict=True)
    }
    return PairingSettings(
        SyncSettings(max_wait=scenario.max_wait, tolerance=scenario.tolerance), cameras=cameras
    )


def measure(scenario: Scenario, seconds: float = 60, seeds: int = 1) -> dict[str, float]:
    """The figures of a scenario over some runs with other phases: {clouds_percent, cameras,
    distance_ms, mean_wait_ms, p95_wait_ms, deadline_hits}.

    The first three seconds of each run, which begin with startup_grace, do not count.
    """
    begin = BEGIN + 3 * SECOND
    clouds: list[PairedCloud] = []
    num_sent = 0
    for seed in range(seeds):
        arrivals = arrivals_of(scenario, seconds, seed)
        num_sent += sum(arrival.camera is None and arrival.stamp >= begin for arrival in arrivals)
        clouds += [
            paired
            for paired in play(settings_of(scenario), arrivals).clouds
            if paired.stamp >= begin
        ]
    distances = [abs(image.offset_ns) / MS for paired in clouds for image in paired.images.values()]
    waits = sorted(paired.wait_ns / MS for paired in clouds)
    return {
        "clouds_percent": 100 * len(clouds) / num_sent,
        "cameras": statistics.mean(len(paired.images) for paired in clouds),
        "distance_ms": statistics.mean(distances) if distances else 0.0,
        "mean_wait_ms": statistics.mean(waits),
        "p95_wait_ms": waits[int(0.95 * len(waits))],
        "deadline_hits": sum(paired.deadline_hit for paired in clouds),
    }


SCENARIOS = (
    Scenario("12 Hz, all well"),
    Scenario("1 of 6 dead", dead=1),
    Scenario("10 % of the images lost", drop=0.1),
    Scenario("one camera 80 ms late", late_ms=80),
    Scenario("all dead", dead=6),
    Scenario("one camera silent for 20 s", silent=(20, 40)),
    Scenario("30 Hz, 50 ms limit", hertz=30.0, max_wait=0.05),
    Scenario(
        "triggered, one dead, 50 ms limit", triggered=True, dead=1, max_wait=0.05, tolerance=0.015
    ),
)
SWEPT = (
    Scenario("12 Hz"),
    Scenario("30 Hz", hertz=30.0),
    Scenario("triggered", triggered=True, tolerance=0.015),
)
SWEEP = tuple(
    replace(scenario, name=f"{scenario.name}, max_wait {wait}", max_wait=wait / 1000)
    for scenario in SWEPT
    for wait in (0, 20, 40, 60, 80)
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--seconds", type=int, default=60, help="simulated time of each scenario")
    parser.add_argument(
        "--seeds",
        type=int,
        default=1,
        help="runs of each scenario, with other phases and latencies",
    )
    options = parser.parse_args()
    results = {
        scenario.name: measure(scenario, options.seconds, options.seeds)
        for scenario in SCENARIOS + SWEEP
    }
    if options.json:
        print(json.dumps(results, indent=1))
        return
    print(f"{'scenario':<36}{'clouds':>8}{'cameras':>9}{'|dt| ms':>9}{'wait ms':>9}{'p95 ms':>8}")
    for name, row in results.items():
        figures = (
            f"{row['clouds_percent']:7.1f}%{row['cameras']:9.2f}{row['distance_ms']:9.1f}"
            f"{row['mean_wait_ms']:9.1f}{row['p95_wait_ms']:8.1f}"
        )
        print(f"{name:<36}{figures}")


if __name__ == "__main__":
    main()
