"""ROS messages <-> numpy, one codec a message. Works on any object with the right fields;
no ROS.
"""
