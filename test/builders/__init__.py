"""Makers of what several tests need: messages, sets on disk, stories of the synchroniser."""
