"""What the node says on /diagnostics of how the clouds lie and how much of them can be labelled."""

import math
from typing import Any

from cmdfusion_ros.labelling.diagnostics.facts import OK, WARN, NodeFacts, Part
from cmdfusion_ros.labelling.labelled_cloud import LabelledCloud
from cmdfusion_ros.labelling.lost_points import lost_points
from cmdfusion_ros.labelling.sections import PointsSettings

_FEW = 0.5  # share of usable points below which the causes are counted
_AGAIN = 1.0  # seconds from one counting to the next: it is a pass over all points


class PlacementDiagnostics:
    """Remembers the last cloud. Not locked: its owner does that."""

    def __init__(self) -> None:
        self._last: dict[str, Any] = {}
        self._usable, self._causes, self._counted = math.nan, "", -math.inf

    def take(self, labelled: LabelledCloud, settings: PointsSettings, now: float) -> None:
        """A cloud was labelled at `now`, seconds of a steady clock."""
        cloud, placement = labelled.cloud, labelled.placement
        self._usable = len(labelled.frame.points) / max(cloud.num_points, 1)
        scale = 1.0 if placement is None else placement.scale
        if self._usable >= _FEW or not cloud.num_points:
            self._causes = "" if cloud.num_points else "the clouds are empty"
        elif now - self._counted >= _AGAIN:
            self._counted = now
            found = lost_points(cloud.points, scale, settings.min_range, settings.max_range)
            if labelled.num_beyond_reach:
                found["beyond the network's grid"] = labelled.num_beyond_reach
            self._causes = ", ".join(
                f"{100 * count / cloud.num_points:.0f} % {cause}" for cause, count in found.items()
            )
        self._last = {
            "sure": placement is None or placement.sure,
            "words": f"as points.{'frame' if settings.frame else 'leveling'} says"
            if placement is None
            else placement.words,
            "unit": "metres" if placement is None else placement.unit,
            "height_m": math.nan if placement is None else placement.found_height,
            "tilt_deg": math.nan if placement is None else placement.tilt_deg,
            "sensor_frame": "" if placement is None else placement.sensor_frame,
        }

    def part(self, facts: NodeFacts) -> Part:
        """The Part `placement`."""
        if not self._last:
            return Part("placement", OK, "no cloud was labelled yet")
        values = {**self._last, "usable_ratio": self._usable, "lost": self._causes}
        if facts.state != "active":
            return Part("placement", OK, facts.state, values)
        if not self._usable:
            return Part(
                "placement", WARN, f"no point of the last cloud can be labelled: {self._causes}",
                values,
            )  # fmt: skip
        words = self._last["words"]
        if not self._last["sure"]:
            return Part(
                "placement",
                WARN,
                f"{words or 'nothing sure is known yet of how the clouds lie'}; "
                "points.frame names a frame that lies as the sensor does, points.leveling: off "
                "says that the clouds' own does",
                values,
            )
        return Part("placement", OK, words, values)
