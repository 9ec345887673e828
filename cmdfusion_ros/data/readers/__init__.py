"""Data sets on disk -> Frames."""
