"""Files of torch.save give up their tensors, and nothing in them is run."""

import os
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict

import pytest
import torch

from cmdfusion_ros.checkpoint.pickled import PickledTensor, PickleError, read_pickled


class Trap:
    """A pickle that would write a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_tensors_of_every_kind_come_back(tmp_path):
    base = torch.arange(24.0).reshape(4, 6)
    tensors = {
        "float": base,
        "part": base[1:, ::2],
        "turned": base.T,
        "half": base.half(),
        "long": torch.tensor(7),
        "bool": torch.tensor([True, False]),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(base + 1),
    }
    torch.save(OrderedDict(tensors), tmp_path / "file.pt")
    content, replaced = read_pickled(tmp_path / "file.pt")
    assert list(content) == list(tensors) and replaced == []
    for name, tensor in tensors.items():
        assert isinstance(content[name], PickledTensor)
        loaded = content[name].load()
        assert (
            loaded.dtype == tensor.dtype and torch.equal(loaded, tensor) and loaded.is_contiguous()
        )


def test_plain_values_come_back_and_classes_become_empty_stand_ins(tmp_path, monkeypatch):
    """As in files of the authors: settings in a dict class that need not be installed, and a
    class as a key.
    """
    module = types.ModuleType("easysettings")
    module.Settings = type("Settings", (dict,), {"__module__": "easysettings"})
    module.Callback = type("Callback", (), {"__module__": "easysettings"})
    monkeypatch.setitem(sys.modules, "easysettings", module)
    settings = module.Settings(rate=0.24)
    settings.rate = 0.24
    torch.save(
        {"epoch": 3, "settings": settings, "callbacks": {module.Callback: {"best": torch.ones(1)}}},
        tmp_path / "file.pt",
    )
    monkeypatch.delitem(sys.modules, "easysettings")
    content, replaced = read_pickled(tmp_path / "file.pt")
    assert content["epoch"] == 3 and dict(content["settings"]) == {"rate": 0.24}
    assert [value["best"].load().item() for value in content["callbacks"].values()] == [1.0]
    assert (
        replaced == ["easysettings.Callback", "easysettings.Settings"]
        and "easysettings" not in sys.modules
    )


@pytest.mark.parametrize(
    "where", [lambda trap: {"state_dict": trap}, lambda trap: [trap, {"x": {1: trap}}]]
)
def test_a_trap_does_not_spring(tmp_path, where):
    torch.save(where(Trap(tmp_path / "sprung")), tmp_path / "file.pt")
    _, replaced = read_pickled(tmp_path / "file.pt")
    assert replaced == [f"{os.system.__module__}.system"] and not (tmp_path / "sprung").exists()
    torch.load(tmp_path / "file.pt", weights_only=False)
    assert (tmp_path / "sprung").exists()  # it would have


def test_a_pickle_cannot_change_how_tensors_are_made(tmp_path):
    """BUILD on a callable that the reader hands out: sets attributes where it can."""
    code = b"ctorch._utils\n_rebuild_tensor_v2\n(N}X\x04\x00\x00\x00evilK\x01stb."
    with zipfile.ZipFile(tmp_path / "file.pt", "w") as archive:
        archive.writestr("file/data.pkl", code)
    with pytest.raises(PickleError, match="its pickle cannot be read"):
        read_pickled(tmp_path / "file.pt")


def test_wrong_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing.pt: no such file"):
        read_pickled(tmp_path / "nothing.pt")
    (tmp_path / "old.pt").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(
        PickleError, match="not a zip file, as torch.save writes them since torch 1.6"
    ):
        read_pickled(tmp_path / "old.pt")
    with zipfile.ZipFile(tmp_path / "other.pt", "w") as archive:
        archive.writestr("word/document.xml", "")
    with pytest.raises(PickleError, match="expected one data.pkl, got 0"):
        read_pickled(tmp_path / "other.pt")


def test_a_truncated_or_lying_file_is_an_error_not_a_tensor(tmp_path):
    torch.save({"a": torch.ones(100)}, tmp_path / "file.pt")
    whole = (tmp_path / "file.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PickleError, match="not a zip file"):
        read_pickled(tmp_path / "cut.pt")
    content, _ = read_pickled(tmp_path / "file.pt")
    honest = content["a"]
    for lie in ({"shape": (200,)}, {"offset": 50}, {"member": "file/data/9"}, {"stride": (-1,)}):
        values = {
            name: getattr(honest, name)
            for name in ("path", "member", "dtype", "offset", "shape", "stride")
        }
        with pytest.raises(PickleError, match="cannot be read"):
            PickledTensor(**{**values, **lie}).load()


def test_a_pickle_with_changed_bytes_is_read_or_refused_but_never_runs(tmp_path):
    torch.save(
        {"state_dict": {"a": torch.ones(3), "b": torch.zeros(2)}, "name": "x"}, tmp_path / "file.pt"
    )
    with zipfile.ZipFile(tmp_path / "file.pt") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    pickled = members["file/data.pkl"]
    random = torch.Generator().manual_seed(0)
    before = set(sys.modules)
    for _ in range(200):
        broken = bytearray(pickled)
        for place in torch.randint(len(pickled), (3,), generator=random).tolist():
            broken[place] = int(torch.randint(256, (1,), generator=random))
        with zipfile.ZipFile(tmp_path / "broken.pt", "w") as archive:
            for name, data in members.items():
                archive.writestr(name, bytes(broken) if name == "file/data.pkl" else data)
        try:
            read_pickled(tmp_path / "broken.pt")
        except PickleError:
            pass
    assert set(sys.modules) == before


def test_a_pickle_cannot_name_another_file_as_a_tensor_s_numbers(tmp_path):
    """The maker of tensors called with a made-up storage, and with a path set on a true one."""
    with zipfile.ZipFile(tmp_path / "secret.zip", "w") as archive:
        archive.writestr("private", b"TOP-SECRET-BYTES")

    def text(value):
        return b"X" + struct.pack("<I", len(value)) + value.encode()

    def name_of(module, name):
        return f"c{module}\n{name}\n".encode()

    storage = text(str(tmp_path / "secret.zip")) + text("private")
    storage += name_of("torch", "ByteStorage") + b"\x87"
    made_up = name_of("torch._utils", "_rebuild_tensor_v2") + b"(" + storage
    made_up += b"K\x00K\x10\x85K\x01\x85tR"
    with zipfile.ZipFile(tmp_path / "evil.pt", "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02}" + text("x") + made_up + b"s.")
    content, _ = read_pickled(tmp_path / "evil.pt")
    with pytest.raises(PickleError, match="outside of its file"):
        content["x"].load()

    true = b"(" + text("storage") + name_of("torch", "ByteStorage") + text("0") + text("cpu")
    true += b"K\x10tQ"
    tensor = (
        name_of("torch._utils", "_rebuild_tensor_v2") + b"(" + true + b"K\x00K\x10\x85K\x01\x85tR"
    )
    changes = b"N}" + text("storage") + storage + b"s\x86b"  # BUILD with attributes to set
    with zipfile.ZipFile(tmp_path / "evil.pt", "w") as archive:
        archive.writestr("a/data/0", bytes(16))
        archive.writestr("a/data.pkl", b"\x80\x02}" + text("x") + tensor + changes + b"s.")
    with pytest.raises(PickleError, match="cannot be read"):
        read_pickled(tmp_path / "evil.pt")


def test_a_small_file_cannot_ask_for_much_memory(tmp_path):
    def tensor(shape, stride):
        return _rebuild(shape, stride)

    def _rebuild(shape, stride):
        numbers = b"".join(b"\x8a\x05" + n.to_bytes(5, "little") for n in shape)
        steps = b"".join(b"\x8a\x05" + n.to_bytes(5, "little") for n in stride)
        storage = b"(X\x07\x00\x00\x00storagectorch\nByteStorage\nX\x01\x00\x00\x000"
        storage += b"X\x03\x00\x00\x00cpuK\x10tQ"
        return (
            b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00(" + numbers + b"t("
            + steps + b"ttR."
        )  # fmt: skip

    with zipfile.ZipFile(tmp_path / "big.pt", "w") as archive:
        archive.writestr("a/data/0", bytes(16))
        archive.writestr("a/data.pkl", b"\x80\x02" + tensor((1 << 36, 1 << 20), (0, 0)))
    content, _ = read_pickled(tmp_path / "big.pt")
    with pytest.raises(PickleError, match="16 numbers in the file"):
        content.load()
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data/0", bytes(1 << 24))
        archive.writestr("a/data.pkl", b"\x80\x02" + tensor((4,), (1,)))
    content, _ = read_pickled(tmp_path / "bomb.pt")
    with pytest.raises(PickleError, match="packed numbers"):
        content.load()


@pytest.mark.parametrize("number", [2, 1 << 27])
def test_what_a_pickle_remembers_cannot_take_gigabytes(tmp_path, number):
    """Python makes a list as long as the number of what is remembered."""
    content = b"\x80\x02}r" + struct.pack("<I", number) + b"."
    with zipfile.ZipFile(tmp_path / "file.pt", "w") as archive:
        archive.writestr("archive/data.pkl", content)
    if number == 2:
        assert read_pickled(tmp_path / "file.pt") == ({}, [])
    else:
        with pytest.raises(PickleError, match="remembers its operation 2 as number 134217728"):
            read_pickled(tmp_path / "file.pt")
