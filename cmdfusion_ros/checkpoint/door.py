"""The door for files of weights: opened once, looked at before it is read, and read into memory, so
that what is hashed is what is checked and what is used, whatever happens to the file meanwhile.
"""

import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any

MOST_BYTES = 4 << 30  # of a file of weights; the largest network here takes 0.4 GB
_MOST_HEADER = 16 << 20  # of a safetensors header


class CheckpointError(ValueError):
    """A file that is no checkpoint, or one whose parts do not belong together."""


def read_regular_file(path: Path, most_bytes: int = MOST_BYTES) -> bytes:
    """The content of a file.

    Raises:
        FileNotFoundError: there is no such file. OSError: it cannot be read.
        CheckpointError: it is a pipe, a device or a folder, or larger than `most_bytes`.
    """
    try:
        # a pipe that nobody writes to must not be waited for
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"checkpoint {path}: no such file") from error
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode):
        os.close(descriptor)
        raise CheckpointError(f"{path}: expected a regular file, got a folder, pipe or device")
    with open(descriptor, "rb") as stream:
        if facts.st_size > most_bytes:
            raise CheckpointError(
                f"{path}: expected a file of at most {most_bytes} bytes, got {facts.st_size}; is "
                "this a checkpoint?"
            )
        # it may have grown since; asking for `most_bytes` would take memory for as many
        content = stream.read(facts.st_size + 1)
    if len(content) > facts.st_size:
        raise CheckpointError(f"{path}: grew over {facts.st_size} bytes while it was read")
    return content


def sha256_of(content: bytes) -> str:
    """The SHA-256 of bytes, in hex."""
    return hashlib.sha256(content).hexdigest()


def safetensors_metadata(content: bytes, path: str | Path) -> dict[str, str]:
    """The metadata of a safetensors file, {} where it has none.

    Raises:
        CheckpointError: no safetensors file, or metadata that are no texts.
    """
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > min(_MOST_HEADER, len(content) - 8):
        raise CheckpointError(
            f"{path}: not a complete safetensors file (no header that fits it); .pt, .pth and "
            ".ckpt files are pickles and are not read"
        )
    header = parsed_json(content[8 : 8 + length], f"{path}: safetensors header")
    metadata = header.get("__metadata__", {}) if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or not all(
        isinstance(value, str) for value in metadata.values()
    ):
        raise CheckpointError(f"{path}: not a complete safetensors file: its metadata are no texts")
    return metadata


def parsed_json(text: str | bytes, where: str) -> Any:
    """Plain values from JSON. Raises CheckpointError for anything else, however deeply nested."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{where}: metadata is broken: {error}") from error
