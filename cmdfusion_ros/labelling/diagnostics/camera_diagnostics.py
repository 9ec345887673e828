"""What the node says of one camera on /diagnostics."""

import math
from typing import Any

from cmdfusion_ros.labelling.diagnostics.facts import (
    ERROR,
    NOBODY,
    OK,
    WARN,
    CameraFacts,
    NodeFacts,
    Part,
)
from cmdfusion_ros.labelling.diagnostics.windows import SPAN, Window
from cmdfusion_ros.labelling.labelled_cloud import CameraReport
from cmdfusion_ros.labelling.settings import CameraSettings, NodeSettings
from cmdfusion_ros.pairing.report import CameraSync

_SETUP_TIME = 5.0  # seconds that a camera may take to get its calibration and transform
_UNSEEN = 50  # clouds in a row without a visible point before the camera's frame is doubted


class CameraDiagnostics:
    """What was seen of one camera's images. Not locked: its owner does that."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.arrivals = Window()
        self._decode_errors = 0
        self._status = ""  # name of the CameraStatus at the last cloud
        self._reason = ""
        self._visible_ratio = math.nan
        self._unseen = 0  # clouds in a row of which no point fell into the image
        self._alignment, self._misplaced = "not judged: no image of it was used yet", False
        self._uncompensated = (0, -math.inf)  # how many images were, and when that last grew

    def image_unreadable(self, reason: str) -> None:
        """An image came that was malformed at first sight."""
        self._decode_errors += 1
        self._reason = reason

    def take(self, report: CameraReport) -> None:
        """A CameraReport came."""
        self._status, self._reason = report.status.name, report.reason
        self._decode_errors += self._status == "DECODE_ERROR"
        if report.used:
            self._visible_ratio = report.visible_ratio
            self._unseen = self._unseen + 1 if self._status == "NO_POINTS" else 0

    def judged(self, words: str, is_wrong: bool) -> None:
        """It was told whether the camera sits as its transform says."""
        self._alignment, self._misplaced = words, is_wrong

    def part(
        self,
        settings: NodeSettings,
        place: CameraFacts,
        facts: NodeFacts,
        now: float,
        started: float,
    ) -> Part:
        """The camera's Part.

        Args:
            settings: NodeSettings. place: CameraFacts. facts: NodeFacts.
            now, started: seconds of a steady clock, at this moment and when the node was activated.
        """
        own = settings.camera_settings[self.name]
        sync = facts.sync.cameras[self.name] if facts.sync else None
        if place.uncompensated != self._uncompensated[0]:
            self._uncompensated = (place.uncompensated, now)
        topic = own.image_topic + ("/compressed" if own.transport == "compressed" else "")
        publishers, incompatible = facts.graph.publishers.get(topic, NOBODY)
        values = {
            "state": sync.state if sync else facts.state,
            "reason": self._why(own, topic, place, facts) or (sync.reason if sync else ""),
            "topic": topic,
            "transport": own.transport,
            "publishers": publishers,
            "rate_hz": self.arrivals.rate(now),
            "last_age_s": self.arrivals.age(now),
            **(_sync_values(sync) if sync else {}),
            "last_status": self._status,
            "decode_errors": self._decode_errors,
            "calibrated": place.calibrated,
            "size_calibration": place.size or "",
            "visible_points_ratio": self._visible_ratio,
            "transform_age_s": place.transform_age_s,
            "ego_compensated": bool(settings.sync.fixed_frame)
            and now - self._uncompensated[1] > SPAN,
            "uncompensated": place.uncompensated,
            "alignment": self._alignment,
            "incompatible_qos": incompatible
            or facts.graph.publishers.get(own.camera_info_topic, NOBODY)[1],
        }
        level, message = self._level(
            settings.diagnostics.camera_loss_level, values, place, facts, now - started
        )
        return Part(f"camera/{self.name}", level, message, values)

    def _why(self, own: CameraSettings, topic: str, place: CameraFacts, facts: NodeFacts) -> str:
        """Why the camera gives nothing, with what the ROS graph knows of it; "" where the
        synchroniser knows best.
        """
        graph = facts.graph
        if place.missing:
            known = graph.transforms if place.calibrated else graph.hints.get(own.camera_info_topic)
            return f"{place.missing}; {known}" if known else place.missing
        if self._reason:
            return self._reason
        return "" if self.arrivals else graph.hints.get(topic, "")

    def _level(
        self,
        loss_level: str,
        values: dict[str, Any],
        place: CameraFacts,
        facts: NodeFacts,
        uptime: float,
    ) -> tuple[int, str]:
        loss = {"ok": OK, "warn": WARN, "error": ERROR}[loss_level]
        if facts.state not in ("active", "paused"):
            return OK, facts.state
        if values["state"] == "DISABLED":
            return OK, "disabled"
        if values["incompatible_qos"]:
            return ERROR, f"incompatible quality of service: {values['incompatible_qos']}"
        if self._status == "NO_CALIBRATION" and self._reason and place.calibrated:
            return ERROR, self._reason  # the size of its images is not that of its calibration
        if place.missing and uptime > _SETUP_TIME:
            return ERROR, values["reason"]
        if self._status == "DECODE_ERROR":
            return max(loss, WARN), f"the last image could not be decoded: {self._reason}"
        if self._unseen >= _UNSEEN:
            return (
                WARN,
                f"no point fell into its last {self._unseen} images; is {place.frame!r} really "
                "the optical frame (z forward)?",
            )
        if self._misplaced and not values["reason"]:
            return WARN, self._alignment
        if values["state"] == "ACTIVE" and not values["reason"]:
            if self._status == "NOT_LOOKED_AT":
                return OK, "its images come, and the network reads none (model.images)"
            return OK, "in use"
        return loss, values["reason"] or values["state"]


def _sync_values(sync: CameraSync) -> dict[str, Any]:
    """What the synchroniser knows of a camera."""
    return {
        "waited_for": sync.waited_for,
        "matched_ratio": sync.matched_ratio,
        "offset_mean_ms": sync.offset_mean_ms,
        "offset_p95_ms": sync.offset_p95_ms,
        "suggested_time_offset_ms": sync.suggested_time_offset_ms,
        "suggested_max_wait_ms": sync.suggested_max_wait_ms,
        **sync.counts,
    }
