"""The command `cmdfusion`: one verb a file. A verb's file is imported only when that verb is
asked for, so `--help` does not wait for torch.
"""

import importlib
import importlib.util
import signal
import sys
import threading
import traceback
from collections.abc import Sequence

from cmdfusion_ros.cli.runs.figures import check_figures_place
from cmdfusion_ros.cli.runs.parser import VerbParser
from cmdfusion_ros.cli.runs.processes import ProcessError
from cmdfusion_ros.cli.runs.quiet import keep_quiet

# A verb's file has `add_parser(subparsers)`, which returns its parser, and `run(args) -> int`,
# which returns the exit code.
VERBS = {
    "demo": "replay a bag through the running node and show the result",
    "inspect": "say what is in a bag, and what the node would do with it",
    "label": "label a bag offline, without ROS, or fill a labelling tool",
    "replay": "play a bag into ROS 2",
    "doctor": "say what is installed, what is chosen, and why",
    "train": "train a network",
    "evaluate": "score a checkpoint",
    "robustness": "score a checkpoint in bad weather and with broken sensors",
    "adapt": "let a network learn from a drive that nobody labelled",
    "map": "make one labelled cloud of a drive",
    "calibrate": "make confidence mean how often it is right",
    "ablation": "repeat the papers' claims: train and score every row of a table",
    "submit": "label a test set for its benchmark",
    "world": "make labelled sequences of a made-up street",
    "bench": "measure speed",
    "soak": "let everything go wrong around the node, for hours",
    "import": "take over a checkpoint of the authors of CMDFusion",
    "completion": "print what makes a shell complete these commands by Tab",
}
_FILES = {"import": "import_checkpoint"}  # of verbs that cannot name a module
# what a wrong input or a missing part raises: one line is enough for those
_EXPECTED = (ValueError, OSError, ModuleNotFoundError, ProcessError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb.

    Returns:
        The exit code: what the verb says; 2 for wrong input, 1 for a bug, 130 for Ctrl-C, SIGTERM
            and a closed terminal.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    verb = next((word for word in arguments if not word.startswith("-")), None)
    args = _parser(verb).parse_args(arguments)
    if args.verb is None:
        _parser().print_help()
        return 2
    keep_quiet("quiet" in args)
    if threading.current_thread() is threading.main_thread():
        # as Ctrl-C: a verb that started processes ends them first
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.default_int_handler)
    try:
        check_figures_place(getattr(args, "json", None))
        return args.run(args)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if "traceback" in args or not isinstance(error, _EXPECTED):
            traceback.print_exc()
        print(f"cmdfusion {args.verb}: {error}", file=sys.stderr)
        return 2 if isinstance(error, _EXPECTED) else 1


def whole_parser() -> VerbParser:
    """The parser with the options of every verb, which imports all that any of them needs."""
    return _parser(*VERBS)


def _parser(*asked):
    """The parser of all verbs; only those `asked` for have their options."""
    parser = VerbParser(
        prog="cmdfusion",
        description="Camera-LiDAR semantic segmentation of point clouds.",
        examples=("cmdfusion demo", "cmdfusion label demo_output/street --out labelled"),
    )
    parser.add_argument(
        "--version",
        action="version",
        version=f"cmdfusion {importlib.import_module('cmdfusion_ros').__version__}",
    )
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB")
    for verb, summary in VERBS.items():
        if verb in asked:
            module = importlib.import_module(f"cmdfusion_ros.cli.{_FILES.get(verb, verb)}")
            module.add_parser(subparsers).set_defaults(run=module.run)
        else:
            subparsers.add_parser(verb, help=summary)
    return parser
