"""A clock, and the diagnostics of a node that lives by it."""

from types import SimpleNamespace

from cmdfusion_ros.config import LiveSettings
from cmdfusion_ros.labelling.diagnostics.facts import (
    CameraFacts,
    GraphFacts,
    NodeFacts,
)
from cmdfusion_ros.labelling.diagnostics.node_diagnostics import NodeDiagnostics
from cmdfusion_ros.labelling.labelled_cloud import CameraReport
from cmdfusion_ros.labelling.placement import Placement
from cmdfusion_ros.labelling.settings import node_settings
from cmdfusion_ros.pairing.paired_cloud import CameraStatus, Mode
from cmdfusion_ros.pairing.pairing import CloudAnchoredPairing

PLACE = CameraFacts(True, "", "front_optical", (64, 48), 1.0, 0)
SECOND = 10**9


class World:
    """A clock, the diagnostics of a node with one camera, and a synchroniser to report on."""

    def __init__(self, **values):
        self.now = 1000.0
        self.settings = node_settings(
            {
                "cameras": ["front"],
                **{name.replace("__", "."): value for name, value in values.items()},
            }
        )
        self.diagnostics = NodeDiagnostics(LiveSettings(self.settings), lambda: self.now)
        self.pairing = CloudAnchoredPairing(
            LiveSettings(self.settings.pairing()), self, lambda paired: None
        )

    def now_ros(self):
        return int(self.now * SECOND)

    now_steady = now_ros

    def parts(
        self, state="active", wanted=True, publishers=None, dropped=None, place=PLACE, **graph
    ):
        sync = self.pairing.report() if state in ("active", "paused") else None
        facts = NodeFacts(
            state,
            wanted,
            GraphFacts(publishers or {}, **graph),
            dropped or {},
            sync,
            {"front": place},
        )
        return {part.name: part for part in self.diagnostics.parts(facts)}

    def clouds(
        self,
        number,
        labelled=True,
        processing_ms=50.0,
        mode=Mode.FUSED,
        status=CameraStatus.FUSED,
        reason="",
    ):
        """`number` clouds at 10 Hz, each labelled at once."""
        for _ in range(number):
            self.now += 0.1
            self.diagnostics.cloud_arrived(self.now_ros())
            if labelled:
                self.diagnostics.cloud_labelled(
                    labelled_cloud(mode, status, reason), processing_ms, 80.0
                )


def labelled_cloud(mode, status, reason="", retried=""):
    cloud = SimpleNamespace(
        num_points=7,
        fields=[SimpleNamespace(name="x"), SimpleNamespace(name="y")],
        frame_id="lidar",
    )
    return SimpleNamespace(
        placement=Placement(True, words="origin of lidar"),
        frame=SimpleNamespace(points=range(7)),
        mode=mode,
        cloud=cloud,
        cameras=[CameraReport("front", status, reason, visible_ratio=0.25)],
        retried=retried,
    )
