"""Every door of the package, and hostile inputs for it: `python test/fuzz/hunt.py --help`."""
