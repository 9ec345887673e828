"""What happened in one run over a bag: when each cloud went out and came back labelled, in which
mode, and what was dropped. And its summary.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from cmdfusion_ros.pairing.paired_cloud import CameraStatus

MODES = ("FUSED", "PARTIAL", "LIDAR_ONLY")


class RunRecord:
    """Takes the events of player, recorder and node (or of the offline run) and counts.

    Latency is wall time from the call that published a cloud, in the player, to the arrival of the
    same cloud with labels in the recorder: network, node and both transports. In an offline run it
    is the time from handing the cloud in to having its labels.

    Args:
        labelled_topic, status_topic: full names. num_clouds: in the bag.
    """

    def __init__(self, labelled_topic: str, status_topic: str, num_clouds: int):
        self.num_clouds = num_clouds
        self._labelled_topic, self._status_topic = labelled_topic, status_topic
        # by header stamp: wall ns, wall ns, mode, {stage of ~/status: ms}
        self.sent, self.returned, self.modes, self.stages = {}, {}, {}, {}
        # {reason: the first sentence that gave it} of clouds and messages that were lost
        self.reasons = {}
        self.node_cores = None  # CPU seconds of the node a second of the run, None: not known
        # {camera: {status: clouds}}, {(camera, status): the first sentence that gave it}
        self.cameras, self._camera_reasons = {}, {}
        self._pointless = []  # why clouds that were labelled have no point with a label
        self.placement = ""  # how the clouds lie to what the network knows, in words
        self.left_out = ()  # topics of the bag that were not copied, as they are an earlier run's
        # last values of the node's diagnostics of its pipeline and its synchroniser, {key: text}
        self.values = {}

    def take(self, event: Mapping[str, Any]) -> None:
        """Take one event in."""
        kind, topic = event["event"], event.get("topic")
        if kind == "cloud":
            self.sent[event["stamp"]] = event["wall"]
        elif kind == "message" and topic == self._labelled_topic:
            self.returned[event["stamp"]] = event["wall"]
            if "mode" in event:
                self.modes[event["stamp"]] = event["mode"]
        elif kind == "message" and topic == self._status_topic:
            self.modes[event["stamp"]] = event["mode"]
            self.stages[event["stamp"]] = event.get("stages", {})
            for name, number in event.get("cameras", {}).items():
                self._count_camera(name, CameraStatus(number).name)
        elif kind == "message" and "parts" in event:
            for name, values in event["parts"].items():
                if name.endswith((": pipeline", ": sync")):
                    self.values.update(values)
                _, is_camera, camera = name.partition(": camera/")
                if is_camera and values.get("reason"):
                    key = camera, values.get("last_status", "")
                    self._camera_reasons.setdefault(key, values["reason"])
        elif kind == "counts":
            self.values.update(event["counts"])
        elif kind == "unlabelled":
            self.reasons.setdefault(event.get("reason", "unlabelled"), event["why"])
        elif kind == "unreadable":
            self.reasons.setdefault(f"{topic} not readable", event["why"])
        elif kind == "uncopied":
            self.reasons.setdefault(f"messages of {topic} not copied", event["why"])
        elif kind == "left_out":
            self.left_out = tuple(event["topics"])
        elif kind == "placement":
            self.placement = event["words"]
        elif kind == "cameras":
            for name, (status, why) in event["cameras"].items():
                self._count_camera(name, status)
                self._camera_reasons.setdefault((name, status), why)
        elif kind == "pointless":
            self._pointless.append(event["why"])

    def _count_camera(self, name: str, status: str) -> None:
        counts = self.cameras.setdefault(name, {})
        counts[status] = counts.get(status, 0) + 1

    def count(self, key: str) -> int:
        """A count of the node's diagnostics; 0 before the first."""
        return int(self.values.get(key, 0))

    @property
    def dropped(self) -> dict[str, int]:
        """{reason: clouds} as the node names them, without those that are 0."""
        prefix = "dropped."
        return {
            key.removeprefix(prefix): int(value)
            for key, value in sorted(self.values.items())
            if key.startswith(prefix) and int(value)
        }

    @property
    def settled(self) -> bool:
        """Whether every cloud that was sent is accounted for, and every labelled one has
        come back.
        """
        done = self.count("labelled") + sum(self.dropped.values())
        return self.count("received") == len(self.sent) == done and len(
            self.returned
        ) == self.count("labelled")

    @property
    def latencies_ms(self) -> np.ndarray:
        """(M,) milliseconds of the clouds that came back, in order of stamp."""
        return np.array(
            [
                (self.returned[stamp] - self.sent[stamp]) / 1e6
                for stamp in sorted(self.returned)
                if stamp in self.sent
            ]
        )

    @property
    def rate_hz(self) -> float:
        """Labelled clouds a second of wall time; NaN for fewer than two."""
        walls = sorted(self.returned.values())
        return (
            (len(walls) - 1) / ((walls[-1] - walls[0]) / 1e9)
            if len(walls) > 1 and walls[-1] > walls[0]
            else math.nan
        )

    @property
    def last_mode(self) -> str:
        """Mode of the newest labelled cloud, "" where it is not known."""
        return self.modes[max(self.modes)] if self.modes else self.values.get("mode_last", "")

    def mode_counts(self) -> dict[str, int]:
        """{FUSED, PARTIAL, LIDAR_ONLY: clouds}: of the labelled clouds, from ~/status. Where our
        messages are not built there is no ~/status; then of the
        clouds that the synchroniser released, from /diagnostics, those that were dropped afterwards
        included.
        """
        if self.modes:
            return {mode: sum(value == mode for value in self.modes.values()) for mode in MODES}
        return {mode: self.count(f"released.{mode}") for mode in MODES}

    def camera_lines(self) -> list[str]:
        """One line for each camera that did not serve every cloud: how often, and why."""
        lines = []
        for name, counts in self.cameras.items():
            empty = counts.get("NO_POINTS", 0)
            used, total = counts.get("FUSED", 0) + empty, sum(counts.values())
            words = [f"camera {name}: used for {used} of {total} clouds"]
            for status, count in counts.items():
                if status not in ("FUSED", "NO_POINTS"):
                    why = self._camera_reasons.get((name, status), "")
                    words.append(f"{count} {status}" + (f" ({why})" if why else ""))
            if empty:
                words.append(
                    f"no point fell into {empty} of its images: is its frame really the optical "
                    "one (z forward)?"
                )
            if len(words) > 1:
                lines.append("; ".join(words))
        return lines

    def problems(self) -> list[str]:
        """Sentences about what does not add up; empty where everything does."""
        found = []
        accounted = self.count("labelled") + sum(self.dropped.values())
        if self.count("received") != self.num_clouds:
            found.append(
                f"the node received {self.count('received')} of the bag's {self.num_clouds} clouds"
            )
        if accounted != self.count("received"):
            found.append(
                f"{self.count('received')} clouds received, but {accounted} labelled or dropped "
                "by name"
            )
        if len(self.returned) != self.count("labelled"):
            found.append(
                f"{self.count('labelled')} clouds labelled, but {len(self.returned)} recorded"
            )
        if not self.count("labelled"):
            found.append("not one cloud was labelled")
        elif len(self._pointless) == self.count("labelled"):
            found.append(
                f"no cloud has a point that can be labelled: {self._pointless[0]}; `cmdfusion "
                "inspect BAG` says more"
            )
        found += [
            f"{self.dropped.get(reason, 'some')} {reason}, the first: {why}"
            for reason, why in self.reasons.items()
        ]
        return found

    def summary(self, miou: float | None) -> dict[str, Any]:
        """The plain values of summary.json. NaN becomes None."""
        latencies = self.latencies_ms
        percentiles = {"p50": 50, "p95": 95, "max": 100}
        latency = {
            name: round(float(np.percentile(latencies, share)), 1) if len(latencies) else None
            for name, share in percentiles.items()
        }
        return {
            "received": self.count("received"),
            "labelled": self.count("labelled"),
            "dropped": self.dropped,
            "reasons": self.reasons,
            "placement": self.placement,
            "modes": self.mode_counts(),
            "cameras": self.cameras,
            "rate_hz": None if math.isnan(self.rate_hz) else round(self.rate_hz, 2),
            "latency_ms": latency,
            "miou": None if miou is None or math.isnan(miou) else round(miou, 4),
        }
