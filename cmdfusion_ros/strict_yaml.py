"""YAML that costs no more than its length: without doubled keys, alias bombs, endless nesting and
numbers as long as a book.
"""

from pathlib import Path
from typing import Any

import yaml

_MOST_YAML = 1 << 20  # bytes; the longest file here has 20 kB
_DEEPEST_YAML = 50  # levels of nesting
_LONGEST_NUMBER = 40  # digits; Python takes quadratic time to read a number


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses a doubled key, which plain YAML loaders silently overwrite, and what
    costs more than its length: an alias inside of an anchored value multiplies it, nine levels of
    nine make a billion.
    """

    def __init__(self, stream):
        super().__init__(stream)
        self._depth = 0
        self._aliases = 0

    def compose_node(self, parent, index):
        if self.check_event(yaml.AliasEvent):
            self._aliases += 1
            event = self.peek_event()
            anchored = self.anchors.get(event.anchor)
            where = f"{self.name}, line {event.start_mark.line + 1}: the alias {event.anchor!r:.40}"
            if anchored is not None and anchored.end_mark is None:
                raise YamlError(f"{where} lies inside of what it stands for")
            if self._aliases > 1000 or (anchored is not None and _holds(anchored) > 10_000):
                raise YamlError(f"{where} makes the file many times as long as it is")
        self._depth += 1
        if self._depth > _DEEPEST_YAML:
            raise YamlError(f"{self.name}: expected at most {_DEEPEST_YAML} levels of nesting")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue  # `<<: *base`, whose keys may be overridden
            key = self.construct_object(key_node, deep=True)
            where = f"{self.name}, line {key_node.start_mark.line + 1}: "
            if not isinstance(key, (str, int, float, bool, type(None))):
                raise YamlError(f"{where}expected a word as key, got {type(key).__name__}")
            if key in seen:
                raise YamlError(f"{where}key {key!r:.80} is given twice")
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node):
        if len(node.value) > _LONGEST_NUMBER:
            raise YamlError(
                f"{self.name}, line {node.start_mark.line + 1}: expected a number of at "
                f"most {_LONGEST_NUMBER} digits, got {len(node.value)}"
            )
        return super().construct_yaml_int(node)


_StrictLoader.add_constructor("tag:yaml.org,2002:int", _StrictLoader.construct_yaml_int)


def _holds(node):
    """How many values a composed node holds, aliases followed; stops counting at 10,001."""
    count, waiting = 0, [node]
    while waiting and count <= 10_000:
        count += 1
        value = waiting.pop().value
        if isinstance(value, list):
            for item in value[:10_001]:
                waiting.extend(item if isinstance(item, tuple) else (item,))
    return count


class YamlError(ValueError):
    """A file that is no YAML, or more than it seems; the text names file and line."""


def read_yaml(path: str | Path) -> Any:
    """The content of a YAML file as plain values; None for an empty one.

    Raises:
        OSError: it cannot be read. YamlError: it is none, or more than it seems.
    """
    with open(path, "rb") as stream:
        content = stream.read(_MOST_YAML + 1)
    if len(content) > _MOST_YAML:
        raise YamlError(f"{path}: expected at most {_MOST_YAML} bytes of YAML")
    loader = None
    try:
        text = content.decode("utf-8-sig")
        loader = _StrictLoader(text)
        loader.name = str(path)
        return loader.get_single_data()
    except YamlError:
        raise
    except Exception as error:  # beside YAMLError, whatever PyYAML's own constructors let out
        raise YamlError(f"{path}: not readable as YAML: {error}") from error
    finally:
        if loader is not None:
            loader.dispose()
