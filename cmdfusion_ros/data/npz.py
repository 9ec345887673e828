"""Arrays from .npz files that others wrote, or that were cut short while they were written."""

import zipfile
from pathlib import Path

import numpy as np

_MOST_BYTES = 2**31  # unpacked, of one file: a scan has some millions


def read_npz(path: str | Path, *wanted: str) -> dict[str, np.ndarray]:
    """{name: array} of all that a .npz file holds; nothing is unpickled.

    Args:
        wanted: names that must be there.

    Raises:
        FileNotFoundError: there is no such file. ValueError: damaged, unpacks to more than 2 GiB,
            or a name is missing.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > _MOST_BYTES:
            raise ValueError(f"it would unpack to {unpacked} bytes, expected {_MOST_BYTES} at most")
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise
    except Exception as error:  # zipfile and zlib raise anything for a damaged file
        raise ValueError(
            f"{path}: expected an .npz file, got one that cannot be read "
            f"({type(error).__name__}: {error}); is it complete?"
        ) from error
    missing = [name for name in wanted if name not in arrays]
    if missing:
        raise ValueError(
            f"{path}: expected an entry {missing[0]!r}, got {', '.join(sorted(arrays)) or 'none'}"
        )
    return arrays


def read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    """The bytes of a file in a zip archive. Raises ValueError where it is damaged, or unpacks to
    more than 2 GiB.
    """
    try:
        if archive.getinfo(name).file_size > _MOST_BYTES:
            raise ValueError(f"expected {_MOST_BYTES} bytes at most")
        return archive.read(name)
    except Exception as error:  # as above
        raise ValueError(
            f"{archive.filename}: {name} cannot be read ({type(error).__name__}: {error})"
        ) from error
