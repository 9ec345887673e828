"""The soak: episode after episode of mixed faults, each judged when it is over, and remembered in
a file from which a soak that was ended goes on.
"""

import json
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

import numpy as np

from cmdfusion_ros.labelling.settings import node_settings
from cmdfusion_ros.pairing.paired_cloud import Mode
from cmdfusion_ros.soak.clock import SoakClock
from cmdfusion_ros.soak.faulty_drive import FAULTS, SCAN, FaultyDrive
from cmdfusion_ros.soak.soak_messages import CAMERAS
from cmdfusion_ros.soak.soaked_node import SoakNode

LOG = "episodes.jsonl"
MOST_SLOPE = 1.0  # percent of the memory in 200,000 clouds
_SLOPE_CLOUDS = 200_000
_SETTLED = 30  # least episodes of one process that its memory is judged by
_MOST_RECOVERY = 300  # scans until clouds are fused again


@dataclass(frozen=True)
class Episode:
    """Some scans with some faults, and what became of them.

    Attributes:
        number, session: of the episode, and of the process that played it.
        faults: names. clouds: sent. labelled: that came out. dropped: {reason: clouds}.
        recovery_s: simulated seconds from the end of the faults to a cloud with every camera.
        errors: parts of the diagnostics at ERROR when the faults ended.
        rss_mb, fds, threads, frames: of the process, and known frames, at the end.
        wrong: what did not hold, in words.
    """

    number: int
    session: int
    faults: tuple[str, ...]
    clouds: int
    labelled: int
    dropped: dict[str, int]
    recovery_s: float
    errors: int
    rss_mb: float
    fds: int
    threads: int
    frames: int
    wrong: tuple[str, ...] = ()


def read_log(out: Path, seed: int) -> list[Episode]:
    """The episodes that a soak has behind it; a line that was being written when it was ended is
    none.

    Raises:
        ValueError: the folder holds a soak of another seed.
    """
    path, found = out / LOG, []
    if not path.exists():
        return []
    for number, line in enumerate(path.read_text().splitlines()):
        try:
            values = json.loads(line)
        except ValueError:
            break
        if number == 0:
            if values.get("seed") != seed:
                raise ValueError(
                    f"{path}: expected a soak with seed {seed}, got {values.get('seed')}; take "
                    "that seed, or another folder"
                )
            continue
        found.append(
            Episode(
                **{**values, "faults": tuple(values["faults"]), "wrong": tuple(values["wrong"])}
            )
        )
    return found


def soak(
    out: Path,
    clouds: int,
    seed: int,
    faults: Sequence[str] = tuple(FAULTS),
    tell: Callable[[Episode], None] = lambda episode: None,
) -> list[Episode]:
    """Play episodes until so many clouds are sent, those of an earlier run counted.

    Args:
        out: folder for the log. clouds: how many. seed: the same seed makes the same faults.
        faults: those that may happen. tell: called with each new Episode.

    Returns:
        All Episodes, in order.

    Raises:
        ValueError: as `read_log`.
    """
    out.mkdir(parents=True, exist_ok=True)
    episodes = read_log(out, seed)
    number, sent = len(episodes), sum(episode.clouds for episode in episodes)
    session = episodes[-1].session + 1 if episodes else 0
    lines = [{"seed": seed}, *(asdict(episode) for episode in episodes)]
    (out / LOG).write_text("".join(json.dumps(line) + "\n" for line in lines))  # whole lines alone
    del episodes, lines  # the process that is weighed keeps none
    player = _Player(seed, session, faults)
    try:
        with open(out / LOG, "a") as log:
            while sent < clouds:
                episode = player.play(number)
                number, sent = number + 1, sent + episode.clouds
                log.write(json.dumps(asdict(episode)) + "\n")
                log.flush()
                tell(episode)
    finally:
        player.close()
    return read_log(out, seed)


class _Player:
    """One node, driven through episode after episode."""

    def __init__(self, seed: int, session: int, faults: Sequence[str]) -> None:
        self._seed, self._session, self._faults = seed, session, sorted(faults)
        settings = {
            "cameras": list(CAMERAS),
            "tf.timeout": 0.0,  # the clock does not move while the worker looks a transform up
            "sync.max_job_time": 2.0,
            "sync.startup_grace": 0.5,
            **{f"{name}.frame": name for name in CAMERAS},
        }
        self._clock = SoakClock()
        self._node = SoakNode(node_settings(settings), self._clock)
        self._drive = FaultyDrive(self._node, self._clock, Random(0))
        self._drive.set_up()
        self._before = self._node.counts()

    def close(self) -> None:
        self._node.close()

    def play(self, number: int) -> Episode:
        node, drive = self._node, self._drive
        random = drive.random = Random(f"{self._seed}/{number}")
        chosen = frozenset(
            random.sample(self._faults, min(random.choice((1, 1, 2, 3)), len(self._faults)))
        )
        labelled, disorder, drive.sent = node.labelled, node.disorder, 0
        drive.begin(chosen)
        for scan in range(random.randrange(20, 60)):
            drive.scan(scan, chosen)
        errors = node.num_errors()
        drive.end()
        recovery = self._recover()
        drive.let_pass(2 * 10**9)  # what waits is over
        counts = node.counts()
        change = {key: counts[key] - self._before.get(key, 0) for key in counts}
        self._before = counts
        wrong = []
        if change["received"] != drive.sent:
            wrong.append(f"{drive.sent} clouds sent, {change['received']} received")
        if counts["waiting"]:
            wrong.append(f"{counts['waiting']} clouds unaccounted for")
        if change["labelled"] != node.labelled - labelled:
            wrong.append(f"{node.labelled - labelled} came out, {change['labelled']} counted")
        if node.disorder != disorder:
            wrong.append(f"{node.disorder - disorder} clouds out of order or twice")
        if recovery is None:
            wrong.append(f"no cloud with every camera {_MOST_RECOVERY} scans after the faults")
        dropped = {
            key.removeprefix("dropped."): value
            for key, value in change.items()
            if key.startswith("dropped.") and value
        }
        return Episode(
            number, self._session, tuple(sorted(chosen)), drive.sent, change["labelled"], dropped,
            -1.0 if recovery is None else recovery, errors, round(_rss_mb(), 3),
            len(os.listdir("/proc/self/fd")), _num_threads(),
            node.sizes()["frames"], tuple(wrong),
        )  # fmt: skip

    def _recover(self) -> float | None:
        """Simulated seconds until a cloud with every camera comes out; None where none does."""
        node, start = self._node, self._clock.steady
        for scan in range(_MOST_RECOVERY):
            labelled = node.labelled
            self._drive.scan(scan, frozenset())
            if node.labelled > labelled and node.last_mode is Mode.FUSED:
                return round((self._clock.steady - start - SCAN) / 1e9, 3)
        return None


def _num_threads() -> int:
    """Threads without those that decode, of which four come as they are needed and stay."""
    return sum(not thread.name.startswith("decode") for thread in threading.enumerate())


def _rss_mb() -> float:
    with open("/proc/self/statm") as stream:
        return int(stream.read().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6


def memory_slope(episodes: Sequence[Episode]) -> float:
    """Percent by which memory grows in 200,000 clouds, by least squares over the longest session
    without its first fifth; NaN where that has too few episodes.
    """
    sessions: dict[int, list[Episode]] = {}
    for episode in episodes:
        sessions.setdefault(episode.session, []).append(episode)
    longest = max(sessions.values(), key=len, default=[])
    kept = longest[len(longest) // 5 :]
    if len(kept) < _SETTLED:
        return float("nan")
    sent = np.cumsum([episode.clouds for episode in kept])
    memory = np.array([episode.rss_mb for episode in kept])
    return float(np.polyfit(sent, memory, 1)[0] * _SLOPE_CLOUDS / memory.mean() * 100)


def verdict(episodes: Sequence[Episode]) -> list[str]:
    """What did not hold, in words; nothing where all did."""
    found = [
        f"episode {episode.number} ({', '.join(episode.faults)}): {wrong}"
        for episode in episodes
        for wrong in episode.wrong
    ]
    slope = memory_slope(episodes)
    sent = sum(episode.clouds for episode in episodes)
    if sent >= _SLOPE_CLOUDS // 2 and slope > MOST_SLOPE:
        found.append(f"memory grows by {slope:.2f} % in {_SLOPE_CLOUDS} clouds")
    for session in {episode.session for episode in episodes}:
        mine = [episode for episode in episodes if episode.session == session]
        for what in ("fds", "threads"):
            values = [getattr(episode, what) for episode in mine]
            early, late = values[: len(values) // 3], values[-10:]  # pools fill at first
            if len(values) > _SETTLED and min(late) > max(early):
                found.append(f"{what}: at most {max(early)} at first, {min(late)} at last")
    return found
