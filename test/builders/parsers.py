"""The parsers of the command line, as tests look into them."""

import argparse
import functools

from cmdfusion_ros.cli.main import whole_parser


def _leaves(parser, name):
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield name, parser
            for verb, each in action.choices.items():
                yield from _leaves(each, f"{name} {verb}".strip())
            return
    yield name, parser


@functools.cache
def parsers():
    """{"": the whole parser, "label": that of the verb, "bench": ..., "bench node": ...}."""
    return dict(_leaves(whole_parser(), ""))


def verbs():
    """{name: parser} of what can be run: not the whole, nor `bench` without its kind."""
    return {
        name: parser
        for name, parser in parsers().items()
        if not any(other.startswith(f"{name} ".lstrip()) for other in parsers() if other != name)
    }
