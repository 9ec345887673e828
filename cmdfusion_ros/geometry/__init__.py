"""Rigid transforms, projection, voxels: numpy, no torch."""
