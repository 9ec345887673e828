"""The node's outputs without a node: what it would publish of a cloud."""

import numpy as np
from builders.labelled_cloud import STREET

from cmdfusion_ros.config import LiveSettings
from cmdfusion_ros.geometry.transforms import rigid
from cmdfusion_ros.labelling.settings import node_settings
from cmdfusion_ros.labelling.taxonomy import open_taxonomy
from cmdfusion_ros.ros.interfaces import Interfaces
from cmdfusion_ros.ros.outputs import CloudOutputs, OutputContext

NOTHING = Interfaces({}, {})


class Place:
    """Extrinsics: the base is 1 m behind the LiDAR."""

    def transform(self, target, source):
        assert (target, source) == ("base", "lidar")
        return rigid(np.eye(3), (1.0, 0.0, 0.0))


def outputs(**values):
    settings = node_settings({name.replace("__", "."): value for name, value in values.items()})
    taxonomy = open_taxonomy(STREET)
    return CloudOutputs(
        OutputContext(None, NOTHING, LiveSettings(settings), taxonomy, Place()), "x"
    )
