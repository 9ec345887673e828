"""Sparse convolution in torch."""
