"""Files of weights: ours (safetensors), the authors', published ones; nothing is unpickled."""
