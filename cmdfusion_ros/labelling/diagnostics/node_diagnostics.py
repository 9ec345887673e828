"""What the node says of itself on /diagnostics: one part each for pipeline, LiDAR, synchroniser,
model and every camera.

Plain Python: it is told what happened, from any thread, and makes `Part`s; `node.py` turns those
into diagnostic_msgs.
"""

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cmdfusion_ros.config import LiveSettings
from cmdfusion_ros.labelling.diagnostics.camera_diagnostics import CameraDiagnostics
from cmdfusion_ros.labelling.diagnostics.facts import (
    ERROR,
    NOBODY,
    OK,
    WARN,
    NodeFacts,
    Part,
)
from cmdfusion_ros.labelling.diagnostics.lost_clouds import LostClouds
from cmdfusion_ros.labelling.diagnostics.placement_diagnostics import PlacementDiagnostics
from cmdfusion_ros.labelling.diagnostics.sync_diagnostics import SyncDiagnostics
from cmdfusion_ros.labelling.diagnostics.windows import SPAN, Window, percentile
from cmdfusion_ros.labelling.labelled_cloud import LabelledCloud
from cmdfusion_ros.labelling.model import ModelInfo
from cmdfusion_ros.labelling.settings import NodeSettings
from cmdfusion_ros.messages.texts import printable

_SILENCE = 2.0  # seconds without a cloud, or without an output while clouds come, that are an ERROR
_FAR = 3600.0  # seconds between stamps and clock that no latency explains
_ERRORS_IN_A_ROW = 3
_STANDING = 5.0  # seconds at one cloud that are an ERROR


@dataclass(frozen=True)
class _Result:
    mode: str
    processing_ms: float
    latency_ms: float


class NodeDiagnostics:
    """Counts, windows of the last ten seconds, and the last words of everything that can fail.

    received = labelled + the sum of all dropped + those on their way.

    Args:
        settings: LiveSettings of NodeSettings. now: seconds of a steady clock.

    Attributes:
        model: ModelInfo once the network is open, else None.
    """

    def __init__(
        self, settings: LiveSettings[NodeSettings], now: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self.model: ModelInfo | None = None
        self._now = now
        self._lock = threading.Lock()
        self._received = self._labelled = self._errors = self._retries = self._gaps = 0
        self._dropped: Counter[str] = Counter()
        self._lost_clouds = LostClouds()
        self._beyond_reach = 0  # points
        self._sync, self._placement = SyncDiagnostics(), PlacementDiagnostics()
        self._lost = Window()  # of messages that never came
        self._num_lost = 0
        self._survived = Window()  # of what callbacks raised
        self._failed_transition = ""
        self._errors_in_a_row = self._retries_in_a_row = 0
        self._last_error = ""
        self._arrivals = Window()  # of stamps
        self._results = Window()  # of _Result
        self._over_since: float | None = None  # since when processing takes too long
        # (when, why) the last output beside the labelled cloud could not be made
        self._view_failure = (-math.inf, "")
        self._last_cloud = (0, "", "")  # points, fields, frame
        self._cameras = {camera: CameraDiagnostics(camera) for camera in settings.current.cameras}
        # _idle_at: when no label was expected of us, at the last look
        self._started = self._idle_at = now()

    # ---- what happened

    def activated(self) -> None:
        """The node was activated: silence is counted from here."""
        with self._lock:
            self._started = self._idle_at = self._now()
            self._arrivals.clear()
            self._results.clear()
            self._lost_clouds.clear()
            self._sync.clear()
            self._over_since = None

    def transition_failed(self, reason: str) -> None:
        """The node could not be configured or activated; "" once it could."""
        with self._lock:
            self._failed_transition = reason

    def survived(self, reason: str) -> None:
        """A callback raised what it should not have, and the node goes on."""
        with self._lock:
            self._errors += 1
            self._last_error = reason
            self._survived.add(self._now(), reason)

    def clouds_lost(self, number: int) -> None:
        """So many clouds were published and never reached us: the sequence numbers have a gap."""
        with self._lock:
            self._num_lost += number
            self._lost.add(self._now(), number)

    def cloud_arrived(self, stamp: int | None) -> None:
        """A cloud with this header stamp (ns; None where it has no readable header) came in."""
        with self._lock:
            self._received += 1
            if stamp is None:
                return
            period = self._arrivals.period_of_stamps()
            if period and stamp - self._arrivals.last.value > 1.5e9 * period:
                self._gaps += 1
            self._arrivals.add(self._now(), stamp)

    def cloud_unreadable(self, reason: str) -> None:
        """A cloud that came in is malformed."""
        with self._lock:
            self._dropped["malformed"] += 1
            self._last_error = reason

    def cloud_dropped(self, name: str) -> None:
        """A cloud that came in is not labelled, for the reason `name`, and nothing is wrong."""
        with self._lock:
            self._dropped[name] += 1

    def cloud_failed(self, name: str, reason: str) -> None:
        """A cloud was to be labelled and could not be."""
        with self._lock:
            self._dropped[name] += 1
            self._errors += 1
            self._errors_in_a_row += 1
            self._last_error = reason

    def cloud_labelled(
        self, labelled: LabelledCloud, processing_ms: float, latency_ms: float
    ) -> None:
        """A LabelledCloud was published."""
        with self._lock:
            now = self._now()
            self._labelled += 1
            self._errors_in_a_row = 0
            self._retries_in_a_row = self._retries_in_a_row + 1 if labelled.retried else 0
            if labelled.retried:
                self._retries += 1
                self._last_error = labelled.retried
            self._results.add(now, _Result(labelled.mode.name, processing_ms, latency_ms))
            over = processing_ms > 1e3 * self._settings.current.diagnostics.max_processing_time
            self._over_since = (
                (now if self._over_since is None else self._over_since) if over else None
            )
            self._last_cloud = (
                labelled.cloud.num_points,
                " ".join(f.name for f in labelled.cloud.fields),
                labelled.cloud.frame_id,
            )
            self._placement.take(labelled, self._settings.current.points, now)
            for report in labelled.cameras:
                self._cameras[report.name].take(report)

    def points_beyond_reach(self, number: int) -> None:
        """So many points of a cloud lie where the network's grid does not reach."""
        with self._lock:
            self._beyond_reach += number

    def add_dropped(self, dropped: Mapping[str, int]) -> None:
        """{reason: clouds} of a synchroniser and a worker that end now; their counts go on in
        the next report.
        """
        with self._lock:
            self._dropped.update(dropped)

    def view_failed(self, reason: str) -> None:
        """The filtered cloud, markers, an overlay or a saved frame could not be made; the
        labelled cloud is out.
        """
        with self._lock:
            self._errors += 1
            self._last_error = reason
            self._view_failure = (self._now(), reason)

    def image_arrived(self, camera: str) -> None:
        """An image of `camera` came in."""
        with self._lock:
            self._cameras[camera].arrivals.add(self._now(), None)

    def image_unreadable(self, camera: str, reason: str) -> None:
        """An image of `camera` came in and is malformed at first sight."""
        with self._lock:
            self._cameras[camera].image_unreadable(reason)

    def camera_judged(self, camera: str, words: str, is_wrong: bool) -> None:
        """It was told, in `words`, whether `camera` sits as its transform says."""
        with self._lock:
            self._cameras[camera].judged(words, is_wrong)

    # ---- what it means

    def parts(self, facts: NodeFacts) -> list[Part]:
        """All Parts for the NodeFacts `facts`, in a fixed order: pipeline, lidar, sync, model,
        placement, camera/<name>.
        """
        with self._lock:
            now = self._now()
            self._note_idle(facts, now)
            self._lost_clouds.look(now, self._received, Counter(facts.dropped) + self._dropped)
            cameras = [
                camera.part(self._settings.current, facts.cameras[name], facts, now, self._started)
                for name, camera in self._cameras.items()
            ]
            return [
                self._pipeline(facts, now),
                self._lidar(facts, now),
                self._sync.part(facts, now, [result.mode for result in self._results.values]),
                self._model(facts),
                self._placement.part(facts),
                *cameras,
            ]

    def _note_idle(self, facts: NodeFacts, now: float) -> None:
        """While nobody wants labels or no clouds come, no time passes that could be held against
        us.
        """
        coming = self._arrivals and self._arrivals.age(now) <= _SILENCE
        if facts.state != "active" or not facts.wanted or not coming:
            self._idle_at = now
            self._over_since = None

    def _pipeline(self, facts: NodeFacts, now: float) -> Part:
        results = self._results.values
        times = [result.processing_ms for result in results]
        dropped = Counter(facts.dropped) + self._dropped
        values = {
            "state": facts.state,
            "mode_last": results[-1].mode if results else "",
            "rate_hz": self._results.rate(now),
            "received": self._received,
            "labelled": self._labelled,
            "dropped": sum(dropped.values()),
            **{f"dropped.{name}": count for name, count in sorted(dropped.items())},
            "waiting": self._received - self._labelled - sum(dropped.values()),
            "processing_time_ms_p50": percentile(times, 50),
            "processing_time_ms_p95": percentile(times, 95),
            "processing_time_ms_max": percentile(times, 100),
            "latency_ms_p95": percentile([result.latency_ms for result in results], 95),
            "is_processing_time_in_expected_range": self._over_since is None,
            "consecutive_delay_s": now - self._over_since if self._over_since is not None else 0.0,
            "queue_fill": facts.worker.queue_fill if facts.worker else 0.0,
            "job_running_s": facts.worker.running_s if facts.worker else 0.0,
            "stuck_threads": facts.worker.lost_threads if facts.worker else 0,
            "errors": self._errors,
            "last_error": self._last_error,
        }
        return Part("pipeline", *self._pipeline_level(facts, now), values)

    def _pipeline_level(self, facts: NodeFacts, now: float) -> tuple[int, str]:
        if self._failed_transition:
            return ERROR, f"{facts.state}: {self._failed_transition}"
        if self._survived and self._survived.age(now) < SPAN:
            return ERROR, f"a callback failed: {self._survived.last.value}"
        if facts.state != "active":
            return OK, facts.state
        if facts.worker and facts.worker.is_broken:
            return ERROR, (
                f"{facts.worker.lost_threads} clouds were given up and their jobs never ended: "
                "restart the node"
            )
        if facts.worker and facts.worker.running_s > _SILENCE:
            level = ERROR if facts.worker.running_s > _STANDING else WARN
            return level, f"at work on one cloud for {facts.worker.running_s:.1f} s"
        if not facts.wanted:
            return OK, "nobody subscribes: clouds are not labelled (see output.always_publish)"
        if self._errors_in_a_row >= _ERRORS_IN_A_ROW:
            return (
                ERROR,
                f"{self._errors_in_a_row} clouds in a row could not be labelled: "
                f"{self._last_error}",
            )
        silent = now - max(self._idle_at, self._results.last.at if self._results else self._started)
        if silent > _SILENCE:
            return (
                ERROR,
                f"clouds arrive but nothing was labelled for {silent:.1f} s: "
                f"{self._last_error or 'see the counts of dropped clouds'}",
            )
        limits = self._settings.current.diagnostics
        if self._over_since is not None:
            delay = now - self._over_since
            level = ERROR if delay > limits.max_processing_time_duration else WARN
            return (
                level,
                f"processing takes longer than {1e3 * limits.max_processing_time:.0f} ms, for "
                f"{delay:.1f} s now",
            )
        if now - self._view_failure[0] < SPAN:
            return WARN, f"labelling, but an output could not be made: {self._view_failure[1]}"
        if complaint := self._lost_clouds.complaint():
            return WARN, complaint
        if facts.graph.listeners:
            return WARN, f"labelling, but not everybody hears it: {facts.graph.listeners}"
        return (
            OK,
            f"labelling, {self._results.last.value.mode}"
            if self._results
            else "waiting for the first cloud",
        )

    def _lidar(self, facts: NodeFacts, now: float) -> Part:
        topic, sync = self._settings.current.points.topic, facts.sync
        publishers, incompatible = facts.graph.publishers.get(topic, NOBODY)
        points, fields, frame = self._last_cloud
        stamp_age = sync.cloud_age_ms / 1e3 if sync else float("nan")
        values = {
            "topic": topic,
            "publishers": publishers,
            "received": self._received,
            "rate_hz": self._arrivals.rate(now),
            "jitter_ms": self._arrivals.jitter_ms(),
            "period_s": self._arrivals.period_of_stamps(),
            "last_age_s": self._arrivals.age(now),
            "stamp_age_s": stamp_age,
            "points": points,
            "points_beyond_reach": self._beyond_reach,
            "fields": fields,
            "frame": frame,
            "gaps": self._gaps,
            "lost": self._num_lost,
            "malformed": self._dropped["malformed"],
            "out_of_order": sync.dropped["out_of_order"] if sync else 0,
            "unstamped": sync.unstamped if sync else 0,
            "time_jumps": sync.time_jumps if sync else 0,
            "incompatible_qos": incompatible,
        }
        return Part("lidar", *self._lidar_level(facts, now, topic, stamp_age), values)

    def _lidar_level(
        self, facts: NodeFacts, now: float, topic: str, stamp_age: float
    ) -> tuple[int, str]:
        publishers, incompatible = facts.graph.publishers.get(topic, NOBODY)
        if facts.state not in ("active", "paused"):
            return OK, facts.state
        if incompatible:
            return ERROR, f"incompatible quality of service on {topic}: {incompatible}"
        if not self._received:
            return (
                WARN,
                f"waiting for the first cloud on {topic}, which has {publishers} publishers"
                + f"; {facts.graph.hints.get(topic, 'is the name right?')}" * (not publishers),
            )
        silent = self._arrivals.age(now) if self._arrivals else now - self._started
        if silent > _SILENCE:
            return ERROR, f"no cloud for {silent:.1f} s"
        if abs(stamp_age) > _FAR:
            return (
                WARN,
                f"the clouds' stamps are {stamp_age:.0f} s away from now; is use_sim_time right?",
            )
        if self._lost and self._lost.age(now) < SPAN:
            number = sum(entry for entry in self._lost.values)
            return WARN, (
                f"{number} clouds of the last seconds never came: lost on the way or overwritten; "
                "see docs/dds.md, or set sync.overload queue"
            )
        return OK, "receiving"

    def _model(self, facts: NodeFacts) -> Part:
        if self.model is None and self._failed_transition:
            return Part("model", ERROR, f"not loaded: {self._failed_transition}")
        if self.model is None:
            return Part("model", OK, "not loaded")
        values = {
            **vars(self.model),
            "retries": self._retries,
            "device_trouble": facts.device_trouble,
        }
        if facts.device_trouble:
            return Part("model", WARN, facts.device_trouble, values)
        if self.model.checkpoint == "fake":
            return Part("model", WARN, "FAKE: no network, the labels mean nothing", values)
        if max(self._errors_in_a_row, self._retries_in_a_row) >= _ERRORS_IN_A_ROW:
            return Part("model", ERROR, self._last_error, values)
        return Part("model", OK, f"{self.model.checkpoint} on {self.model.device}", values)


def text_of(value: object) -> str:
    """A plain value as a diagnostic KeyValue shows it: a person reads it on a terminal."""
    return f"{value:.3f}" if isinstance(value, float) else printable(value)
