"""The exit codes of docs/commands.md: each is produced, and no verb ends with 1 that it does not
list.
"""

import ast
import re

import pytest
from builders import bag_messages as messages
from builders.commands import cmdfusion
from builders.parsers import verbs
from builders.paths import REPOSITORY

from cmdfusion_ros.cli import doctor
from cmdfusion_ros.cli import main as cli

PAGE = (REPOSITORY / "docs" / "commands.md").read_text()
CODES = dict(re.findall(r"^\| (\d+) \| (.*?) \|$", PAGE, re.MULTILINE))
ROWS = PAGE.split("| verb | ends with 1 where |")[1].split("\n\n")[0]
ONES = {
    verb
    for verbs in re.findall(r"^\| (`.*?`) \|", ROWS, re.MULTILINE)
    for verb in re.findall(r"`(.*?)`", verbs)
}


def produce(code, bag, folder, monkeypatch):
    if code == "0":
        return cmdfusion("inspect", bag, "--out", folder / "out")
    if code == "1":
        empty = messages.write(folder / "empty", messages.camera("front", 0))
        return cmdfusion("inspect", empty, "--out", folder / "out")
    if code == "2":
        return cmdfusion("inspect", folder / "nothing", "--out", folder / "out")

    def interrupted(args):
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "run", interrupted)
    return cmdfusion("doctor")


@pytest.mark.parametrize("code", CODES)
def test_every_code_of_the_page_is_produced(code, small_bag, tmp_path, monkeypatch):
    assert produce(code, small_bag, tmp_path, monkeypatch) == int(code)


def test_there_are_no_other_codes():
    assert list(CODES) == ["0", "1", "2", "130"]
    returned = re.findall(r"return (\d+)", (REPOSITORY / "cmdfusion_ros/cli/main.py").read_text())
    assert set(returned) <= set(CODES)


def returns_of(path):
    """What the `return`s of the functions `run` of a file say, and of those that they return."""
    tree = ast.parse(path.read_text())
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    waiting, seen, said = ["run"], set(), []
    while waiting:
        name = waiting.pop()
        if name in seen or name not in functions:
            continue
        seen.add(name)
        for node in ast.walk(functions[name]):
            if isinstance(node, ast.Return) and node.value is not None:
                said.append(ast.unparse(node.value))
                called = node.value.func if isinstance(node.value, ast.Call) else None
                waiting += [called.id] if isinstance(called, ast.Name) else []
    return said


def test_only_the_verbs_that_the_page_names_end_with_1():
    folder = REPOSITORY / "cmdfusion_ros" / "cli"
    files = {verb: folder / f"{cli._FILES.get(verb, verb)}.py" for verb in cli.VERBS}
    del files["bench"]  # ends as its kinds do
    files |= {name: folder / "benches" / f"{name.split()[1]}.py" for name in verbs() if " " in name}
    assert {verb for verb, path in files.items() if set(returns_of(path)) != {"0"}} == ONES
