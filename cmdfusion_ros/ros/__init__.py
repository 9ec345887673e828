"""The only room that knows ROS: nothing lies here that does not import it, or serve as its door."""
