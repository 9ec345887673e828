"""Where things lie: the repository, and real data where it is there (see docs/data.md)."""

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("CMDFUSION_DATA", REPOSITORY.parent / "shared" / "data"))
