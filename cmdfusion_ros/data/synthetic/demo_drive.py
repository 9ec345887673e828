"""The drive of the demo: three seconds through a made-up street with six cameras, some of which
die and come back.
"""

from collections.abc import Iterator

from cmdfusion_ros.data.synthetic.rendering import render_frames
from cmdfusion_ros.data.synthetic.sequence import SequenceSettings
from cmdfusion_ros.data.synthetic.world import WorldSettings
from cmdfusion_ros.frame import Frame

DEMO_SCANS = 30  # rendered before they are played, and nobody should wait long for a first picture
_RATE = 10.0  # scans a second of the rig
_SEED, _NAME = 2, "demo"
_START_NS = 1_700_000_000_000_000_000
_OUTAGES = {  # camera: (from, to) in seconds after the start
    "front": ((1.8, 2.4),),
    "front_left": ((0.8, 1.3), (1.8, 2.4)),
    "front_right": ((1.8, 2.4),),
    "left": ((1.8, 2.4),),
    "right": ((1.1, 2.4),),
    "back": ((1.8, 3.0),),
}


def demo_frames(class_map_name: str, workers: int, num_scans: int = DEMO_SCANS) -> Iterator[Frame]:
    """Yields the Frames of the drive in order; a frame lacks the views of the cameras that are dead
    then. Between 1.8 and 2.4 s all are.

    Args:
        class_map_name: of the labels. workers: number of processes. num_scans: how many from the
            start.
    """
    world = WorldSettings(place="suburb", rare=4.0, traffic=1.5, speed=6.0)
    settings = SequenceSettings(rig="demo", weather="day", start_ns=_START_NS, world=world)
    return render_frames(_SEED, _NAME, num_scans, settings, class_map_name, _living, workers)


def _living(index):
    """Names of the cameras that take a picture for that scan."""
    return tuple(
        camera
        for camera, outages in _OUTAGES.items()
        if not any(start <= index / _RATE < stop for start, stop in outages)
    )
