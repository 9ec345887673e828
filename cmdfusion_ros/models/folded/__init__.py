"""Inference forms of the networks: equal to the training forms, faster on a CPU."""
