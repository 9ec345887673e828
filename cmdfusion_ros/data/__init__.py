"""Files and made-up worlds -> Frames: numpy, no torch."""
