"""How good a network is: metrics, scores, calibration of its confidence, pages."""
