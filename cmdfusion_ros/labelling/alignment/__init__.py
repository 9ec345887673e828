"""Whether cameras sit and tick as their transforms and stamps say, told from the data alone."""
