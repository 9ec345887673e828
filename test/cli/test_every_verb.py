"""What all verbs have in common: help that opens with lines that work, options of one name and one
meaning, figures as JSON, --quiet.
"""

import argparse
import json
import shlex
from collections import defaultdict

import pytest
import torch
from builders.commands import cmdfusion
from builders.parsers import parsers, verbs
from builders.paths import REPOSITORY

from cmdfusion_ros.cli import doctor
from cmdfusion_ros.cli.main import whole_parser
from cmdfusion_ros.cli.runs.figures import write_figures

# what the reader of an example has, and what `make demo` and `cmdfusion demo` leave
GIVEN = {"teacher.onnx", "official.ckpt", "network.safetensors", "semantic_kitti"}
MADE = {"demo_output/street"}
NUMBERS = {"N", "S", "M", "X", "T", "HZ", "R", "C"}
NO_FIGURES = {"completion"}
# options that mean something else somewhere
OTHERWISE = {"--sequences": "`world` makes so many, the others read those that are named"}


def examples():
    return [(name, line) for name, parser in parsers().items() for line in parser.examples]


def words_of(line):
    """The words of an example, without what the shell does with its output."""
    words = shlex.split(line)
    assert words[0] == "cmdfusion"
    return words[1 : words.index(">") if ">" in words else None]


@pytest.mark.parametrize("name", parsers())
def test_help_opens_with_two_lines_that_parse_as_that_verb(name, capsys):
    first, second, gap, usage, *_ = parsers()[name].format_help().splitlines()
    assert not gap and usage.startswith(f"usage: cmdfusion {name}".rstrip()) and first != second
    for line in (first, second):
        words = words_of(line)
        args = whole_parser().parse_args(words)
        assert not name or " ".join(words).startswith(name)
        assert callable(args.run)


def test_an_example_reads_what_the_repository_has_or_another_example_makes():
    made = {words[words.index("--out") + 1] for _, line in examples()
            if "--out" in (words := words_of(line))}  # fmt: skip
    read = ("--data", "--classes", "--teacher", "--bag")
    for name, line in examples():
        parser = parsers()[name]
        if not name or name == "bench":
            continue
        args = parser.parse_args(words_of(line)[len(name.split()) :])
        places = [getattr(args, word[2:], None) for word in read]
        for action in parser._get_positional_actions():
            given = getattr(args, action.dest)
            places += [] if action.choices else given if isinstance(given, list) else [given]
        for place in places:
            for each in place if isinstance(place, list) else [place]:
                known = each in made | MADE | GIVEN or not each or each in (".", "made_up")
                assert known or (REPOSITORY / each).exists(), f"{line}: no {each}"


def test_one_name_means_one_thing_and_takes_the_same_kind_of_value():
    kinds = defaultdict(lambda: defaultdict(list))
    for name, parser in verbs().items():
        for action in parser._actions:
            for option in action.option_strings:
                kinds[option][kind_of(action)].append(name)
    mixed = {option: dict(found) for option, found in kinds.items() if len(found) > 1}
    assert set(mixed) == set(OTHERWISE), mixed


def kind_of(action):
    """What an option takes: nothing, a choice, a number, a path, or a name."""
    if action.nargs == 0:
        return "nothing"
    if action.choices is not None:
        return "choice"
    assert action.metavar, f"{action.option_strings}: give it a metavar"
    if action.metavar in NUMBERS:
        return "number"
    return "path" if action.metavar.startswith(("FILE", "DIR", "PATH", "CHECKPOINT")) else "name"


@pytest.mark.parametrize("name", verbs())
def test_every_verb_has_what_all_have(name):
    options = verbs()[name]._option_string_actions
    assert {"--quiet", "--traceback"} <= set(options)
    assert ("--json" in options) == (name not in NO_FIGURES)
    assert ("--device" in options) <= ("--threads" in options)
    numbers_of_several = [
        option
        for option, action in options.items()
        if isinstance(action, argparse._AppendAction) and option.endswith("s")
    ]
    assert not numbers_of_several, "what is repeated is in the singular"


def label(bag, tmp_path, *words):
    return cmdfusion("label", bag, "--out", tmp_path / "out", "--backend", "fake", *words)


def test_label_inspect_and_demo_write_the_figures_where_they_are_asked_to(small_bag, tmp_path):
    figures = tmp_path / "new" / "figures.json"
    assert label(small_bag, tmp_path, "--json", figures) == 0
    found = json.loads(figures.read_text())
    assert found["received"] == found["labelled"] == 8 and found["modes"]["FUSED"] == 8
    for verb, more in (("inspect", ()), ("demo", ("--offline", "--backend", "fake"))):
        out = tmp_path / verb
        assert cmdfusion(verb, small_bag, "--out", out, "--json", figures, *more) == 0
        assert figures.read_text() == (out / "summary.json").read_text()
    assert cmdfusion("label", small_bag, small_bag.parent, "--out", tmp_path / "x") == 2


def test_inspect_says_in_its_figures_too_that_there_is_no_cloud(tmp_path):
    from builders import bag_messages as messages

    bag = messages.write(tmp_path / "bag", messages.camera("front", 0))
    assert cmdfusion("inspect", bag, "--out", tmp_path, "--json", tmp_path / "found.json") == 1
    assert json.loads((tmp_path / "found.json").read_text())["usable"] == 0


def test_several_bags_are_listed_with_their_exit_codes(small_bag, tmp_path):
    found = tmp_path / "found.json"
    assert label(small_bag, tmp_path, "--processes", 1, "--json", found) == 0
    assert json.loads(found.read_text()) == {"out": str(tmp_path / "out"), "bags": {"small": 0}}


def test_the_doctor_writes_what_it_found(tmp_path, monkeypatch):
    found = [doctor.Finding(doctor.GOOD, "torch", "2.0")]
    for section in ("package_findings", "network_findings", "ros_findings"):
        monkeypatch.setattr(doctor, section, lambda: found)
    assert cmdfusion("doctor", "--json", tmp_path / "doctor.json") == 0
    told = json.loads((tmp_path / "doctor.json").read_text())
    assert told["ROS 2"] == [{"level": "ok", "subject": "torch", "words": "2.0"}]


def test_quiet_leaves_the_result_and_says_nothing_of_the_way(small_bag, tmp_path, capsys):
    assert label(small_bag, tmp_path) == 0
    loud = capsys.readouterr().out
    (tmp_path / "quiet").mkdir()
    for words in (["--quiet", "label"], ["label", "--quiet"]):
        out = tmp_path / "quiet" / words[0].strip("-")
        assert cmdfusion(*words, small_bag, "--out", out, "--backend", "fake") == 0
        told = capsys.readouterr()
        assert "8 clouds received, 8 labelled" in told.out and not told.err
        assert "8/8 clouds" not in told.out and "8/8 clouds" in loud


def test_a_place_for_figures_that_cannot_be_is_refused_before_the_work(small_bag, tmp_path, capsys):
    (tmp_path / "file").touch()
    for place, why in ((tmp_path, "is a folder"), (tmp_path / "file" / "a.json", "cannot be")):
        assert label(small_bag, tmp_path, "--json", place) == 2
        assert why in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_no_number_is_written_as_null(tmp_path):
    write_figures(str(tmp_path / "a.json"), {"miou": float("nan"), "rows": [(1.5, float("inf"))]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"miou": None, "rows": [[1.5, None]]}


def test_threads_are_those_that_are_asked_for(small_bag, tmp_path, monkeypatch, capsys):
    from cmdfusion_ros.cli import evaluate
    from cmdfusion_ros.labelling import offline

    asked = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    words = ("--data", tmp_path, "--sequences", "00")
    assert cmdfusion("evaluate", tmp_path / "none.safetensors", *words, "--threads", 3) == 2
    assert asked == [3] and evaluate
    assert cmdfusion("evaluate", "none.safetensors", *words, "--threads", 0) == 2
    assert "--threads 0: expected 1 or more" in capsys.readouterr().err
    seen = []
    settings = offline.offline_settings
    monkeypatch.setattr(
        "cmdfusion_ros.cli.runs.offline.offline_settings",
        lambda layout, **model: seen.append(model) or settings(layout, **model),
    )
    assert label(small_bag, tmp_path, "--threads", 2) == 0
    assert seen[0]["cpu_threads"] == 2
    assert label(small_bag, tmp_path, "--threads", 0) == 2
