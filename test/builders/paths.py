"""Where things lie: the repository, and real data where it is there (see docs/data.md)."""

import importlib.util
import os
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("CMDFUSION_DATA", REPOSITORY.parent / "shared" / "data"))


def load_script(path):
    """A file of the repository that is in no package, as a module."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, REPOSITORY / path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
