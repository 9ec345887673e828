"""Losses, metrics, the training loop."""
