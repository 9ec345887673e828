"""What the node says of itself: rates, drops by name, states."""
