"""A drive that teaches its own network: labels from a 2D teacher, carried through the drive."""
