"""Corruptions of scans and images, by the names and levels of the published test suites."""
