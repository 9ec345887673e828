"""Which images go with which cloud: the synchroniser, usable alone. No ROS."""
