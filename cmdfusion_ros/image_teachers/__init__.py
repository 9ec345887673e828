"""2D segmentation networks that others trained, as teachers: what they say of an image, as classes
of ours, and of the points that the camera sees."""
