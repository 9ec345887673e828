"""The parser of every verb: its help opens with command lines that work, and it has the options
that all verbs take.
"""

import argparse
from collections.abc import Sequence
from typing import Any


class VerbParser(argparse.ArgumentParser):
    """An ArgumentParser whose help opens with `examples`, and with --quiet and --traceback, which
    so may stand before the verb and after it.

    Args:
        examples: command lines; a test parses them.
    """

    def __init__(self, *args: Any, examples: Sequence[str] = (), **options: Any):
        super().__init__(*args, **options)
        self.examples = tuple(examples)
        # without a default, so that a verb does not undo what stood before it
        self.add_argument(
            "--quiet",
            action="store_true",
            default=argparse.SUPPRESS,
            help="print results and what is wrong, not how far it is",
        )
        self.add_argument(
            "--traceback",
            action="store_true",
            default=argparse.SUPPRESS,
            help="show the whole traceback of an error",
        )

    def format_help(self) -> str:
        """The examples, then what argparse says."""
        opening = "".join(f"{example}\n" for example in self.examples)
        return (f"{opening}\n" if opening else "") + super().format_help()
