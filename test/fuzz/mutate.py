"""Changes of inputs: of bytes, of trees (JSON, YAML), and of ROS messages field by field."""

import json
import math
from collections.abc import Callable, Sequence
from random import Random

import numpy as np
import yaml
from rosbags.serde import SerdeError

from cmdfusion_ros.data.bags.bag import ros2_types

INTEGERS = (
    *(0, 1, 2, 3, 4, 5, 7, 8, 9, 12, 16, 32, 63, 64, 255, 256, 257, 1000, 32767, 65535, 65536),
    *(65537, 1 << 24, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 63) - 1, 1 << 63),
    *(-1, -2, -128, -32768, -(1 << 31), -(1 << 63)),
)  # fmt: skip
FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-45, 1e-308, 1e30, 3.5e38, -3.5e38, 1e200, 1.8e308, 1e-12,
          math.nan, math.inf, -math.inf, 1e10, 255.0, 65535.0, 2**53 + 1.0)  # fmt: skip
TEXTS = ("", " ", "x", "/", "//", "..", "../x", "\0", "\n", "\x1b[31m", "\ud800", "\u202e", "é",
         "a" * 300, "intensity", "lidar", "map", "none", "auto", "[", "{}", "1e999")  # fmt: skip


def mutate_bytes(data: bytes, random: Random, words: Sequence[bytes] = ()) -> bytes:
    """One to four changes of some bytes; `words` are what the format likes to read."""
    raw = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        place = random.randrange(len(raw) + 1)
        what = random.randrange(8)
        if what == 0 and raw:
            raw[place - 1] ^= 1 << random.randrange(8)
        elif what == 1 and raw:
            raw[place - 1] = random.choice((0, 1, 9, 10, 32, 127, 128, 254, 255))
        elif what == 2:
            del raw[place : place + random.choice((1, 2, 4, 8, 100, 10_000))]
        elif what == 3:
            raw[place:place] = raw[random.randrange(len(raw) + 1) :][: random.choice((1, 4, 60))]
        elif what == 4:
            raw[place:place] = random.randbytes(random.choice((1, 2, 4, 16)))
        elif what == 5:
            size = random.choice((1, 2, 4, 8))
            number = random.choice(INTEGERS) % (1 << 8 * size)
            raw[place : place + size] = number.to_bytes(size, random.choice(("little", "big")))
        elif what == 6 and words:
            word = random.choice(words)
            raw[place : place + random.choice((0, len(word)))] = word
        else:
            del raw[place:]
    return bytes(raw)


def mutate_tree(value, random: Random, words: Sequence[str] = ()):
    """A copy of plain values (dict, list, text, number, ...) with one part changed."""
    if isinstance(value, dict) and value and random.random() < 0.85:
        key = random.choice(list(value))
        changed = dict(value)
        what = random.random()
        if what < 0.08:
            del changed[key]
        elif what < 0.16:
            changed[odd_value(random, words)] = value[random.choice(list(value))]
        elif what < 0.22:
            changed[key] = value[random.choice(list(value))]
        else:
            changed[key] = mutate_tree(value[key], random, words)
        return changed
    if isinstance(value, list) and value and random.random() < 0.85:
        place, changed = random.randrange(len(value)), list(value)
        what = random.random()
        if what < 0.1:
            del changed[place]
        elif what < 0.2:
            changed.insert(place, value[random.randrange(len(value))])
        elif what < 0.23:
            changed *= random.choice((0, 2, 50))
        else:
            changed[place] = mutate_tree(value[place], random, words)
        return changed
    if isinstance(value, bool):
        return random.choice((not value, odd_value(random, words)))
    if isinstance(value, (int, float)) and random.random() < 0.5:
        return value + random.choice((1, -1, 0.5, 1e-9, value, -2 * value))
    return odd_value(random, words)


def odd_value(random: Random, words: Sequence[str] = ()):
    """A plain value that can be a key of a mapping."""
    kind = random.randrange(5)
    if kind == 0:
        return random.choice(INTEGERS)
    if kind == 1:
        return random.choice(FLOATS)
    if kind == 2:
        return random.choice((None, True, False))
    return random.choice((*words, *words, *TEXTS))


def as_json(mutate: Callable = mutate_tree, words: Sequence[str] = ()):
    """(input, Random) -> input of a door that takes JSON."""

    def change(data, random):
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            return mutate_bytes(data, random)
        if random.random() < 0.05:
            return mutate_bytes(data, random)
        for _ in range(random.choice((1, 1, 2, 4))):
            value = mutate(value, random, words)
        return json.dumps(_keyed_by_text(value)).encode()

    return change


def _keyed_by_text(value):
    if isinstance(value, dict):
        return {str(key): _keyed_by_text(item) for key, item in value.items()}
    return [_keyed_by_text(item) for item in value] if isinstance(value, list) else value


YAML_WORDS = (b"&a ", b"*a", b"<<: *a", b"? ", b": ", b"- ", b"!!int ", b"!!float ", b"!!set ",
              b"!!binary ", b"!!timestamp ", b"!!omap ", b"!!python/name:os.system ", b"|\n",
              b">\n", b"[", b"]", b"{", b"}", b"\t", b"%YAML 9.9\n", b"---\n", b"...\n", b"~",
              b"0x", b"0b_", b"1:1:1", b"2001-99-01", b"9" * 50, b"\xef\xbb\xbf", b"\x00", b".nan",
              b"\\x", b"#", b"1e999", b"-.inf")  # fmt: skip


def as_yaml(words: Sequence[str] = ()):
    """(input, Random) -> input of a door that takes YAML."""

    def change(data, random):
        if random.random() < 0.4:
            return mutate_bytes(data, random, YAML_WORDS)
        try:
            value = yaml.load(data, yaml.CSafeLoader)
            for _ in range(random.choice((1, 1, 2, 4))):
                value = mutate_tree(value, random, words)
            return yaml.dump(value, Dumper=yaml.CSafeDumper, sort_keys=False).encode()
        except Exception:  # beside YAMLError, whatever PyYAML's own constructors let out
            return mutate_bytes(data, random, YAML_WORDS)

    return change


def as_message(msgtype: str, texts: Sequence[str] = (), words: Sequence[bytes] = (), buffer=None):
    """(CDR bytes, Random) -> CDR bytes of a message of which some fields are changed; `buffer`
    changes its uint8 arrays, (bytes, Random) -> bytes.
    """
    types = ros2_types()

    def change(data, random):
        if random.random() < 0.15:
            return mutate_bytes(data, random, words)
        try:
            message = types.deserialize_cdr(data, msgtype)
            for _ in range(random.choice((1, 1, 2, 3, 5))):
                _change_field(message, random, texts, buffer)
            return bytes(types.serialize_cdr(message, msgtype))
        except (SerdeError, ValueError, TypeError, OverflowError, KeyError, AttributeError):
            return mutate_bytes(data, random, words)  # no such message can be written
        except Exception as error:  # struct.error
            assert type(error).__name__ == "error", error
            return mutate_bytes(data, random, words)

    return change


def _change_field(message, random, texts, buffer):
    names = [name for name in message.__dataclass_fields__ if not name.isupper() and name[0] != "_"]
    name = random.choice(names)
    value = getattr(message, name)
    if hasattr(value, "__dataclass_fields__"):
        return _change_field(value, random, texts, buffer)
    if isinstance(value, np.ndarray):
        value = _changed_array(value, random, buffer)
    elif isinstance(value, list):
        what = random.randrange(6)
        if value and what == 0:
            value = value[:-1] if random.random() < 0.5 else value[1:]
        elif value and what == 1:
            value = value + [random.choice(value)] * random.choice((1, 2, 70))
        elif value:
            return _change_field(random.choice(value), random, texts, buffer)
    elif isinstance(value, bool):
        value = not value
    elif isinstance(value, int):
        value = random.choice((*INTEGERS, value + 1, value - 1, 2 * value, value // 2))
    elif isinstance(value, float):
        value = random.choice(FLOATS)
    elif isinstance(value, str):
        value = random.choice((*texts, *texts, *TEXTS))
    object.__setattr__(message, name, value)


def _changed_array(values, random, buffer):
    if values.dtype == np.uint8:
        change = buffer or mutate_bytes
        return np.frombuffer(change(values.tobytes(), random), np.uint8)
    values = values.copy()
    what = random.randrange(5)
    if what == 0 and len(values):
        return values[: random.randrange(len(values))]
    if what == 1:
        return np.concatenate([values, values])
    if len(values):
        values[random.randrange(len(values))] = random.choice(FLOATS)
    return values
