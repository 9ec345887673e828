"""The one list of doors."""

from pathlib import Path

from fuzz.files import FILE_DOORS
from fuzz.messages import MESSAGE_DOORS
from fuzz.recordings import RECORDING_DOORS

CORPUS = Path(__file__).parent / "corpus"  # <door>/<anything>: what once fell, or found a way in
DOORS = {door.name: door for door in (*MESSAGE_DOORS, *FILE_DOORS, *RECORDING_DOORS)}


def inputs_of(name: str) -> list[bytes]:
    """The seeds of a door and its corpus."""
    kept = sorted((CORPUS / name).glob("*")) if (CORPUS / name).is_dir() else []
    return [*DOORS[name].seeds(), *(path.read_bytes() for path in kept)]
