"""What the node says of itself on /diagnostics: one part each for pipeline, LiDAR, synchroniser, model and every camera.

Plain Python: it is told what happened, from any thread, and makes `Part`s; `node.py` turns those into diagnostic_msgs.
"""

import math
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field

import numpy as np

OK, WARN, ERROR = 0, 1, 2  # DiagnosticStatus levels
_WINDOW = 10.0  # seconds that rates, ratios and percentiles look back
_SILENCE = 2.0  # seconds without a cloud, or without an output while clouds come, that are an ERROR
_SETUP_TIME = 5.0  # seconds that a camera may take to get its calibration and transform
_ERRORS_IN_A_ROW = 3
_NOBODY = (0, "")  # publishers of a topic that is not subscribed to
_UNSEEN = 50  # clouds without a visible point before a camera's frame is doubted


@dataclass(frozen=True)
class Part:
    """One DiagnosticStatus: name, level, message, and key -> value (any plain value)."""

    name: str
    level: int
    message: str
    values: dict = field(default_factory=dict)


@dataclass(frozen=True)
class CameraFacts:
    """What is known of one camera's place. `missing`: why it cannot be used, "" where it can. `size`: (width, height) of its calibration, or None."""

    calibrated: bool
    missing: str
    frame: str
    size: tuple | None
    transform_age_s: float
    uncompensated: int


@dataclass(frozen=True)
class NodeFacts:
    """What others count, as of the moment of a report.

    Attributes:
        state: "active", "inactive", "paused", ... wanted: whether anybody wants labels.
        publishers: {topic: (number of publishers, why some cannot be received or "")}. dropped: {reason: clouds} of synchroniser and worker.
        sync: SyncReport, None while not active.
        cameras: {camera: CameraFacts}.
    """

    state: str
    wanted: bool
    publishers: dict
    dropped: dict
    sync: object
    cameras: dict


@dataclass(frozen=True)
class _Result:
    at: float
    mode: str
    processing_ms: float
    latency_ms: float


class _Camera:
    """What was seen of one camera's images."""

    def __init__(self):
        self.arrivals = deque()  # (time of arrival, 0)
        self.decode_errors = 0
        self.status = ""  # name of the CameraStatus at the last cloud
        self.reason = ""
        self.visible_ratio = math.nan
        self.unseen = 0  # clouds in a row of which no point fell into the image

    def take(self, report):
        """A CameraReport came."""
        self.status, self.reason = report.status.name, report.reason
        self.decode_errors += self.status == "DECODE_ERROR"
        if report.used:
            self.visible_ratio = report.visible_ratio
            self.unseen = self.unseen + 1 if self.status == "NO_POINTS" else 0


class NodeDiagnostics:
    """Counts, windows of the last ten seconds, and the last words of everything that can fail.

    Args:
        settings: NodeSettings; replaced when a parameter changes. now: seconds of a steady clock.
    """

    def __init__(self, settings, now=time.monotonic):
        self.settings = settings
        self.model = None  # ModelInfo once the network is open
        self._now = now
        self._lock = threading.Lock()
        self.received = self.labelled = self.errors = self.retries = 0
        self.dropped = Counter()  # what the node itself dropped; the synchroniser and the worker count their own
        self._errors_in_a_row = 0
        self._last_error = ""
        self._arrivals = deque()  # (time of arrival, stamp)
        self._results = deque()
        self._over_since = None
        self._gaps = 0
        self._last_cloud = None  # (points, fields, frame) of the last one that was read
        self._cameras = {camera: _Camera() for camera in settings.cameras}
        self.started = now()

    def activated(self):
        """The node was activated: silence is counted from here."""
        with self._lock:
            self.started = self._now()
            self._arrivals.clear()
            self._results.clear()

    def cloud_arrived(self, stamp):
        with self._lock:
            now = self._now()
            self.received += 1
            period = _period(self._arrivals)
            if self._arrivals and period and stamp - self._arrivals[-1][1] > 1.5e9 * period:
                self._gaps += 1
            self._arrivals.append((now, stamp))
            _forget(self._arrivals, now - _WINDOW, lambda item: item[0])

    def cloud_unreadable(self, reason):
        """A cloud that was received but is malformed."""
        with self._lock:
            self.dropped["malformed"] += 1
            self._last_error = reason

    def cloud_dropped(self, name):
        """A cloud that was received but not labelled, for the reason `name`."""
        with self._lock:
            self.dropped[name] += 1

    def add_dropped(self, dropped):
        """{reason: clouds} of a synchroniser and a worker that end now; their counts go on in the next report."""
        with self._lock:
            self.dropped.update(dropped)

    def cloud_failed(self, name, reason):
        """A cloud that was to be labelled and could not be."""
        with self._lock:
            self.dropped[name] += 1
            self.errors += 1
            self._errors_in_a_row += 1
            self._last_error = reason

    def view_failed(self, reason):
        """Markers, an overlay or a saved frame could not be made; the labelled cloud is out."""
        with self._lock:
            self.errors += 1
            self._last_error = reason

    def cloud_labelled(self, result, processing_ms, latency_ms):
        """A LabelledCloud was published."""
        with self._lock:
            now = self._now()
            self.labelled += 1
            self._errors_in_a_row = 0
            if result.retried:
                self.retries += 1
                self._last_error = result.retried
            self._results.append(_Result(now, result.mode.name, processing_ms, latency_ms))
            _forget(self._results, now - _WINDOW, lambda item: item.at)
            over = processing_ms > 1e3 * self.settings.diagnostics.max_processing_time
            self._over_since = (self._over_since or now) if over else None
            self._last_cloud = (result.cloud.num_points, " ".join(f.name for f in result.cloud.fields), result.cloud.frame_id)
            for report in result.cameras:
                self._cameras[report.name].take(report)

    def image_arrived(self, camera):
        with self._lock:
            now = self._now()
            arrivals = self._cameras[camera].arrivals
            arrivals.append((now, 0))
            _forget(arrivals, now - _WINDOW, lambda item: item[0])

    def image_unreadable(self, camera, reason):
        with self._lock:
            self._cameras[camera].decode_errors += 1
            self._cameras[camera].reason = reason

    def parts(self, facts):
        """All Parts, in a fixed order.

        Args:
            facts: NodeFacts.
        """
        with self._lock:
            parts = [self._pipeline(facts), self._lidar(facts), self._sync(facts), self._model()]
            return parts + [self._camera(camera, facts) for camera in self.settings.cameras]

    def _pipeline(self, facts):
        now, limits = self._now(), self.settings.diagnostics
        times = [result.processing_ms for result in self._results]
        latencies = [result.latency_ms for result in self._results]
        delay = now - self._over_since if self._over_since else 0.0
        dropped = Counter(facts.dropped) + self.dropped
        values = {
            "state": facts.state,
            "mode_last": self._results[-1].mode if self._results else "",
            "rate_hz": _rate(self._results, now, lambda item: item.at),
            "received": self.received,
            "labelled": self.labelled,
            "dropped": sum(dropped.values()),
            **{f"dropped.{name}": count for name, count in sorted(dropped.items())},
            "waiting": max(0, self.received - self.labelled - sum(dropped.values())),
            "processing_time_ms_p50": _percentile(times, 50),
            "processing_time_ms_p95": _percentile(times, 95),
            "processing_time_ms_max": max(times, default=math.nan),
            "latency_ms_p95": _percentile(latencies, 95),
            "is_processing_time_in_expected_range": self._over_since is None,
            "consecutive_delay_s": delay,
            "errors": self.errors,
            "last_error": self._last_error,
        }
        return Part("pipeline", *self._pipeline_level(facts, now, delay, limits), values)

    def _pipeline_level(self, facts, now, delay, limits):
        if facts.state != "active":
            return OK, facts.state
        if self._errors_in_a_row >= _ERRORS_IN_A_ROW:
            return ERROR, f"{self._errors_in_a_row} clouds in a row could not be labelled: {self._last_error}"
        busy = [at for at, _ in self._arrivals if now - at < _SILENCE]
        last = self._results[-1].at if self._results else self.started
        if facts.wanted and len(busy) > 1 and now - last > _SILENCE:
            return ERROR, f"clouds arrive but nothing was labelled for {now - last:.1f} s: {self._last_error or 'see the counts of dropped clouds'}"
        if delay > limits.max_processing_time_duration:
            return ERROR, f"processing takes longer than {1e3 * limits.max_processing_time:.0f} ms, for {delay:.1f} s now"
        if self._over_since:
            return WARN, f"processing took longer than {1e3 * limits.max_processing_time:.0f} ms"
        if not facts.wanted:
            return OK, "nobody subscribes: clouds are not labelled"
        if not self._results:
            return OK, "waiting for the first cloud"
        return OK, f"labelling, {self._results[-1].mode}"

    def _lidar(self, facts):
        now, topic = self._now(), self.settings.points.topic
        points, fields, frame = self._last_cloud or (0, "", "")
        age = facts.sync.cloud_age_ms / 1e3 if facts.sync else math.nan
        values = {
            "topic": topic,
            "publishers": facts.publishers.get(topic, _NOBODY)[0],
            "received": self.received,
            "rate_hz": _rate(self._arrivals, now, lambda item: item[0]),
            "jitter_ms": _jitter_ms(self._arrivals),
            "period_s": _period(self._arrivals),
            "last_age_s": now - self._arrivals[-1][0] if self._arrivals else math.nan,
            "stamp_age_s": age,
            "points": points,
            "fields": fields,
            "frame": frame,
            "gaps": self._gaps,
            "malformed": self.dropped["malformed"],
            "out_of_order": facts.sync.dropped["out_of_order"] if facts.sync else 0,
            "unstamped": facts.sync.unstamped if facts.sync else 0,
            "time_jumps": facts.sync.time_jumps if facts.sync else 0,
            "incompatible_qos": facts.publishers.get(topic, _NOBODY)[1],
        }
        return Part("lidar", *self._lidar_level(facts, now, topic, age), values)

    def _lidar_level(self, facts, now, topic, age):
        if facts.state != "active":
            return OK, facts.state
        silent = now - (self._arrivals[-1][0] if self._arrivals else self.started)
        publishers, incompatible = facts.publishers.get(topic, _NOBODY)
        if incompatible:
            return ERROR, f"incompatible quality of service on {topic}: {incompatible}"
        if silent > _SILENCE and self.received:
            return ERROR, f"no cloud for {silent:.1f} s"
        if not self.received:
            return WARN, f"waiting for the first cloud on {topic}, which has {publishers} publishers" + ("" if publishers else "; is the name right?")
        if abs(age) > 3600:
            return WARN, f"the clouds' stamps are {age:.0f} s away from now; is use_sim_time right?"
        return OK, "receiving"

    def _sync(self, facts):
        sync = facts.sync
        if sync is None:
            return Part("sync", OK, facts.state)
        modes = Counter(result.mode for result in self._results)
        total = max(1, len(self._results))
        values = {
            **{f"{name.lower()}_ratio": modes[name] / total for name in ("FUSED", "PARTIAL", "LIDAR_ONLY")},
            **{f"released.{name}": count for name, count in sync.modes.items()},
            "released": sync.released,
            "pending": sync.pending,
            "deadline_hits": sync.deadline_hits,
            **{f"reason.{name}": count for name, count in sync.reasons.items()},
            "mean_wait_ms": sync.mean_wait_ms,
            "p95_wait_ms": sync.p95_wait_ms,
            "suggested_max_wait_ms": sync.suggested_max_wait_ms,
            "epoch": sync.epoch,
        }
        return Part("sync", WARN if sync.warnings else OK, "; ".join(sync.warnings) or "pairing", values)

    def _model(self):
        if self.model is None:
            return Part("model", WARN, "not loaded")
        values = {**vars(self.model), "retries": self.retries, "errors": self.errors}
        if self.model.checkpoint == "fake":
            return Part("model", WARN, "FAKE: no network, the labels mean nothing", values)
        if self._errors_in_a_row >= _ERRORS_IN_A_ROW:
            return Part("model", ERROR, self._last_error, values)
        return Part("model", OK, f"{self.model.checkpoint} on {self.model.device}", values)

    def _camera(self, name, facts):
        camera, own, place = self._cameras[name], self.settings.camera_settings[name], facts.cameras[name]
        sync = facts.sync.cameras[name] if facts.sync else None
        now = self._now()
        topic = own.image_topic + ("/compressed" if own.transport == "compressed" else "")
        values = {
            "state": sync.state if sync else facts.state,
            "reason": camera.reason or place.missing or (sync.reason if sync else ""),
            "topic": topic,
            "transport": own.transport,
            "publishers": facts.publishers.get(topic, _NOBODY)[0],
            "rate_hz": _rate(camera.arrivals, now, lambda item: item[0]),
            "last_age_s": now - camera.arrivals[-1][0] if camera.arrivals else math.nan,
            **(_sync_values(sync) if sync else {}),
            "last_status": camera.status,
            "decode_errors": camera.decode_errors,
            "calibrated": place.calibrated,
            "size_calibration": place.size or "",
            "visible_points_ratio": camera.visible_ratio,
            "transform_age_s": place.transform_age_s,
            "ego_compensated": bool(self.settings.sync.fixed_frame) and not place.uncompensated,
            "uncompensated": place.uncompensated,
            "incompatible_qos": facts.publishers.get(topic, _NOBODY)[1] or facts.publishers.get(own.camera_info_topic, _NOBODY)[1],
        }
        return Part(f"camera/{name}", *self._camera_level(camera, values, place, facts), values)

    def _camera_level(self, camera, values, place, facts):
        loss = {"ok": OK, "warn": WARN, "error": ERROR}[self.settings.diagnostics.camera_loss_level]
        if facts.state != "active" or values["state"] == "DISABLED":
            return OK, "disabled" if facts.state == "active" else facts.state
        if values["incompatible_qos"]:
            return ERROR, f"incompatible quality of service: {values['incompatible_qos']}"
        if camera.status == "NO_CALIBRATION" and place.calibrated:
            return ERROR, camera.reason  # the size of its images is not that of its calibration
        if place.missing and self._now() - self.started > _SETUP_TIME:
            return ERROR, place.missing
        if camera.status == "DECODE_ERROR":
            return max(loss, WARN), f"the last image could not be decoded: {camera.reason}"
        if camera.unseen >= _UNSEEN:
            return WARN, f"no point fell into its last {camera.unseen} images; is {place.frame!r} really the optical frame (z forward)?"
        if values["state"] == "ACTIVE":
            return (loss, values["reason"]) if values["reason"] else (OK, "in use")
        return loss, values["reason"] or values["state"]


def _sync_values(sync):
    """What the synchroniser knows of a camera, as diagnostics."""
    return {
        "waited_for": sync.waited_for,
        "matched_ratio": sync.matched_ratio,
        "offset_mean_ms": sync.offset_mean_ms,
        "offset_p95_ms": sync.offset_p95_ms,
        "suggested_time_offset_ms": sync.suggested_time_offset_ms,
        "suggested_max_wait_ms": sync.suggested_max_wait_ms,
        **sync.counts,
    }


def _forget(entries, before, time_of):
    while entries and time_of(entries[0]) < before:
        entries.popleft()


def _rate(entries, now, time_of):
    """Events a second in the window, 0 where the last is long ago."""
    recent = [time_of(entry) for entry in entries if now - time_of(entry) <= _WINDOW]
    if len(recent) < 2 or recent[-1] == recent[0]:
        return 0.0
    period = (recent[-1] - recent[0]) / (len(recent) - 1)
    return 1 / max(period, now - recent[-1]) if now - recent[-1] > 3 * period else 1 / period


def _stamps(arrivals):
    return np.array([stamp for _, stamp in arrivals], np.int64)


def _period(arrivals):
    """Median difference of stamps in seconds; 0 where fewer than four are known."""
    return float(np.median(np.diff(_stamps(arrivals)))) / 1e9 if len(arrivals) >= 4 else 0.0


def _jitter_ms(arrivals):
    """Standard deviation of the time between arrivals; NaN where fewer than four are known."""
    return 1e3 * float(np.std(np.diff([at for at, _ in arrivals]))) if len(arrivals) >= 4 else math.nan


def _percentile(values, share):
    return float(np.percentile(values, share)) if values else math.nan


def text_of(value):
    """A plain value as a diagnostic KeyValue shows it."""
    return f"{value:.3f}" if isinstance(value, float) else str(value)
