"""Archives of arrays that are cut short, damaged, or something else: a declared error each."""

import zipfile

import numpy as np
import pytest

from cmdfusion_ros.data.npz import read_member, read_npz


@pytest.fixture
def whole(tmp_path):
    path = tmp_path / "whole.npz"
    rng = np.random.default_rng(0)
    np.savez_compressed(path, data=rng.normal(size=200), other=np.arange(3))
    return path


def test_arrays_come_by_name(whole):
    found = read_npz(whole, "data")
    assert set(found) == {"data", "other"} and found["other"].tolist() == [0, 1, 2]


def test_a_file_cut_at_any_place_is_named(whole, tmp_path):
    content, path = whole.read_bytes(), tmp_path / "cut.npz"
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"cut\.npz: .*complete"):
            read_npz(path)


def test_a_file_with_any_byte_changed_gives_arrays_or_a_declared_error(whole, tmp_path):
    content, path = whole.read_bytes(), tmp_path / "changed.npz"
    for place in range(0, len(content), 3):
        changed = bytearray(content)
        changed[place] ^= 0xFF
        path.write_bytes(changed)
        try:
            read_npz(path)
        except ValueError as error:
            assert "changed.npz" in str(error)


def test_what_is_no_archive_or_lacks_a_name_is_named(whole, tmp_path):
    with pytest.raises(ValueError, match="expected an entry 'labels', got data, other"):
        read_npz(whole, "labels")
    np.save(tmp_path / "one.npy", np.arange(3))
    with pytest.raises(ValueError, match=r"one\.npy: expected an \.npz"):
        read_npz(tmp_path / "one.npy")
    np.savez(tmp_path / "objects.npz", data=np.array([{}], object))
    with pytest.raises(ValueError, match="objects.npz"):
        read_npz(tmp_path / "objects.npz")
    with pytest.raises(FileNotFoundError):
        read_npz(tmp_path / "none.npz")


def test_a_damaged_member_of_an_archive_is_named(tmp_path):
    path = tmp_path / "labels.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.label", np.random.default_rng(0).bytes(4000))
    content = bytearray(path.read_bytes())
    content[200] ^= 0xFF
    path.write_bytes(content)
    with zipfile.ZipFile(path) as archive, pytest.raises(ValueError, match="a.label cannot"):
        read_member(archive, "a.label")


def test_what_would_unpack_to_gigabytes_is_refused_before_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr("cmdfusion_ros.data.npz._MOST_BYTES", 1_000_000)
    np.savez_compressed(tmp_path / "bomb.npz", data=np.zeros(10**6))  # some kB packed
    assert (tmp_path / "bomb.npz").stat().st_size < 20_000
    with pytest.raises(ValueError, match=r"bomb\.npz: .*would unpack to 8"):
        read_npz(tmp_path / "bomb.npz")
    with (
        zipfile.ZipFile(tmp_path / "bomb.npz") as archive,
        pytest.raises(ValueError, match="at most"),
    ):
        read_member(archive, "data.npy")
