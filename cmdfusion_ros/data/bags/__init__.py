"""rosbags: streams of CDR, what is in them, Frames to bags."""
