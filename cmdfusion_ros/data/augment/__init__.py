"""Changes of training scans that leave their meaning, and what a network is shown of a scan."""
