"""LiDAR and camera semantic segmentation for ROS 2."""

from pkgutil import extend_path

__version__ = "0.1.0"
# our message classes (cmdfusion_ros.msg, .srv) may lie in a colcon workspace, apart from this code
__path__ = extend_path(__path__, __name__)
