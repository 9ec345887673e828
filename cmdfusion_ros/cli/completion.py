"""`cmdfusion completion SHELL`: print what makes a shell complete these commands by Tab: verbs,
options, choices and files.
"""

import argparse
import importlib.util

from cmdfusion_ros.cli.main import whole_parser

_SHELLS = ("bash", "zsh", "fish")
# how the metavars of files begin; DIR is a folder
_FILES = ("FILE", "BAG", "DRIVE", "PATH", "CHECKPOINT", "NETWORK", "RECIPE", "ABLATION", "OFFICIAL")


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "completion",
        help="print what makes a shell complete these commands",
        description="Print a script that makes a shell complete these commands by Tab. Write it "
        "where your shell looks (docs/commands.md says where), and again after an update.",
        examples=(
            "cmdfusion completion bash > ~/.local/share/bash-completion/completions/cmdfusion",
            "cmdfusion completion fish > ~/.config/fish/completions/cmdfusion.fish",
        ),
    )
    parser.add_argument("shell", choices=_SHELLS, help="which shell")
    return parser


def run(args: argparse.Namespace) -> int:
    """Print the script; returns 0.

    Raises:
        ModuleNotFoundError: shtab is not installed.
    """
    if importlib.util.find_spec("shtab") is None:
        raise ModuleNotFoundError(
            "shtab, which writes the script, is not installed: pip install "
            "'cmdfusion_ros[completion]'"
        )
    import shtab

    parser = whole_parser()
    _name_files(parser, shtab.FILE, shtab.DIRECTORY)
    print(shtab.complete(parser, args.shell))
    return 0


def _name_files(parser: argparse.ArgumentParser, file: object, folder: object) -> None:
    """Tell shtab which arguments are files and folders, by what help calls them."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                _name_files(each, file, folder)
        elif isinstance(action.metavar, str) and action.metavar.startswith(_FILES):
            action.complete = file  # type: ignore[attr-defined]
        elif action.metavar == "DIR":
            action.complete = folder  # type: ignore[attr-defined]
