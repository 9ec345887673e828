"""YAML files cost no more than their length, and only declared errors leave the reader."""

import time

import pytest

from cmdfusion_ros.config import SettingsError, load_yaml

BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)
)
MERGES = "m0: &m0 {a: 1}\n" + "".join(
    f"m{i}: &m{i} {{<<: [{','.join([f'*m{i - 1}'] * 9)}]}}\n" for i in range(1, 10)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "makes the file many times as long as it is"),
        (MERGES, "makes the file many times as long as it is"),
        ("a: " + "9" * 5000, "at most 40 digits"),
        ("[" * 300, "levels of nesting"),
        ("? [1, 2]\n: 3", "expected a word as key"),
        ("a: 2001-02-30", "not readable as YAML"),
        ("&a [*a]", "lies inside of what it stands for"),
        ("!!python/object:os.system x", "not readable as YAML"),
        ("--- 1\n--- 2", "not readable as YAML"),
        ("a: !!float x", "not readable as YAML"),
        ("{a: 1, a: 2}", "line 1: key 'a' is given twice"),
        (b"\xff\xfe\x00", "not readable as YAML"),
        (b"a: " + b"x" * (1 << 20), "at most"),
    ],
)
def test_what_is_more_than_it_seems_is_refused_at_once(tmp_path, text, message):
    path = tmp_path / "x.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    started = time.perf_counter()
    with pytest.raises(SettingsError, match=message):
        load_yaml(path)
    assert time.perf_counter() - started < 10


def test_anchors_and_overridden_merges_are_well(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("base: &base {k: 1, l: [1]}\nother:\n  <<: *base\n  k: 2\nlist: [*base]\n")
    content = load_yaml(path)
    assert content["other"] == {"k": 2, "l": [1]} and content["list"] == [{"k": 1, "l": [1]}]
    path.write_text("")
    assert load_yaml(path) == {}
