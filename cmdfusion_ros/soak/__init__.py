"""Hours of mixed faults in minutes: the node without ROS on a simulated clock, what goes wrong
around it, and what must hold all the same.
"""
