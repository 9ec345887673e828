"""From a paired cloud to its labels: calibration, network, worker, diagnostics. No ROS."""
