"""Twenty thousand hostile inputs for all doors; and the hunt itself finds what it is to find."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fuzz import door as bounds
from fuzz import hunt as hunting
from fuzz.door import Door

HUNT = Path(hunting.__file__)
CASES = 20_000


def test_no_door_falls_in_twenty_thousand_cases(tmp_path):
    """A minute of CPU at most; `make fuzz` goes on from here with a million, chosen by coverage."""
    command = [sys.executable, str(HUNT), "--cases", str(CASES), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    texts = [path.read_text() for path in (tmp_path / "out").rglob("*.txt")]
    assert done.returncode == 0, "\n".join([done.stdout, done.stderr, *texts[:3]])
    cases = int(done.stdout.splitlines()[-1].split()[0])
    assert abs(cases - CASES) <= 20


def wait(data):
    time.sleep(60)


def loop(data):
    while True:
        pass


def grow(data, held=[]):  # noqa: B006
    held.append(bytearray(os.urandom(1 << 16)))


WRONG = {
    "KeyError": (lambda data: {}[data], "KeyError-"),
    "a loop": (loop, "TooLong-"),
    "a wait": (wait, "hang"),
    "memory": (lambda data: bytearray(os.urandom(1 << 20)) * 600, "memory"),
    "more memory than there is": (lambda data: bytearray(1 << 40), "MemoryError-"),
    "a dead process": (lambda data: os.kill(os.getpid(), signal.SIGSEGV), "signal-SIGSEGV"),
    "an exit": (lambda data: os._exit(3), "exit-3"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_a_door_must_not_do_is_found_and_its_input_kept(what, tmp_path, monkeypatch):
    """The third case does it; those before and after are counted as taken."""
    call, kind = WRONG[what]
    if call is loop:
        monkeypatch.setattr(bounds, "MOST_SECONDS", 0.3)
    if call is wait:
        monkeypatch.setattr(hunting, "HANG", 1.5)
    inputs = [b"good", b"fine", b"bad!", b"well"]
    honest = os.getpid()

    def take(data, folder):
        # the honest round before the hunt is not what is tried here
        if data == b"bad!" and (folder / "hunted").exists():
            call(data)
        if data == b"well":
            (folder / "hunted").touch()
        assert os.getpid() != honest

    door = Door("test", take, (ValueError,), lambda: inputs, lambda data, random: b"good")
    found = hunting.hunt(door, inputs, 6, 0, tmp_path / "out")
    assert found["cases"] == 6 and found["taken"] == 5 and found["refused"] == 0
    assert len(found["kinds"]) == 1 and found["kinds"][0].startswith(kind)
    assert (tmp_path / "out" / f"{found['kinds'][0]}.bin").read_bytes() == b"bad!"


def test_a_process_that_grows_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(hunting, "FEWEST_FOR_GROWTH", 100)
    door = Door(
        "test", lambda data, folder: grow(data), (), lambda: [b""], lambda data, random: data
    )
    assert hunting.hunt(door, [b""], 1500, 0, tmp_path / "out")["kinds"] == ["growth"]


def test_what_is_declared_is_no_fall_and_the_same_seed_gives_the_same_inputs(tmp_path):
    def take(data, folder):
        with open(tmp_path / "seen", "ab") as stream:
            stream.write(data + b"\n")
        raise ValueError

    def change(data, random):
        return b"%d" % random.randrange(10**9)

    door = Door("test", take, (ValueError,), lambda: [b"0"], change)
    seen = []
    for _ in range(2):
        found = hunting.hunt(door, [b"0"], 20, 5, tmp_path / "out")
        assert found["refused"] == 20 and not found["kinds"]
        seen.append((tmp_path / "seen").read_bytes())
        (tmp_path / "seen").unlink()
    assert seen[0] == seen[1] and len(set(seen[0].split())) == 20
