"""What `cmdfusion inspect` looks at besides the clouds: cameras and coordinate frames."""
