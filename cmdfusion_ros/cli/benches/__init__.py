"""What `cmdfusion bench` measures."""
