"""LiDAR and camera semantic segmentation for ROS 2."""

import os
from pkgutil import extend_path

__version__ = "0.1.0"
# our message classes (cmdfusion_ros.msg, .srv) may lie in a colcon workspace, apart from this code
__path__ = extend_path(__path__, __name__)

# A thread of OpenMP that has nothing to do spins, for milliseconds, on a core that another process
# wants, and the thread that it waits for waits too. Read when torch is first imported; what the
# user set stays.
if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
    os.environ["GOMP_SPINCOUNT"] = "2000"
