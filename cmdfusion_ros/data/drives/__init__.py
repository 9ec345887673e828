"""Drives: the scans of one recording in order, with poses and with cameras placed exactly."""
