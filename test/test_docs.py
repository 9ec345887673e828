"""The pages: made from the code or held to it, links lead somewhere, commands are run or marked."""

import ast
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from builders.paths import REPOSITORY, load_script

DOCS = REPOSITORY / "docs"
PAGES = sorted([*DOCS.glob("*.md"), *REPOSITORY.glob("*.md")])
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
# README.md is one page's worth of prose that is rewritten as a whole
NARROW = [page for page in PAGES if page.name != "README.md"]
NOT_RUN = {  # first words that no test runs, and why
    "cd": "the reader's own folders",
    "touch": "the reader's own folders",
    "export": "the reader's own shell",
    "source": "the reader's own shell",
    "profile": "the reader's own shell",
    "git": "needs the network",
    "pip": "needs the network",
    "pre-commit": "needs the network",
    "rosdep": "needs the network and root",
    "ros2": "needs ROS 2 from apt; launch files are opened by test/launch, where launch is there",
    "colcon": "needs ROS 2 from apt; test_installed.py builds with colcon where the wheels are",
    "python3": "as colcon, and venv",
    "mcap": "a program of others, for damaged recordings",
    "fastdds": "a program of ROS 2's middleware",
    "torchrun": "test_replicas.py starts its two processes by their environment variables",
    "make audit": "needs the network",
    "make demo": "minutes, and the network; `cmdfusion demo` is run",
    "make test": "it is what runs this",
    "make lint": "ruff and mypy, which `make test` has run by now",
    "make fuzz": "hours; test/fuzz hunts with a few cases",
    "make sanitize": "minutes, and compilers with sanitizers",
    "make weights": "hours; each of its verbs is run on small data",
}
BENCHMARKS = sorted((REPOSITORY / "benchmarks").glob("*.py"))
NO_PROGRAM = {"other_idioms.py"}  # what a benchmark imports


def name_of(page):
    return str(page.relative_to(REPOSITORY))


def node_page():
    """docs/make_node_page.py as a module."""
    return load_script("docs/make_node_page.py")


def commands_of(page):
    """The commands in the shell blocks of a page, without comments; continued lines joined."""
    for kind, block in FENCE.findall(page.read_text()):
        if kind in ("", "bash", "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                for part in " ".join(map(shlex.quote, words)).split("'&&'"):
                    if part.strip():
                        yield shlex.split(part)


def test_the_page_of_the_node_is_what_the_code_says():
    assert (DOCS / "node.md").read_text() == node_page().page() + "\n"


def test_every_service_and_part_of_the_diagnostics_is_on_the_page_of_the_node():
    source = "".join(path.read_text() for path in (REPOSITORY / "cmdfusion_ros/ros").glob("*.py"))
    services = re.findall(r'create_service\([\w.]+, "([^"]+)"', source)
    assert set(services) == set(node_page().SERVICES)
    folder = REPOSITORY / "cmdfusion_ros" / "labelling" / "diagnostics"
    source = "".join(path.read_text() for path in folder.glob("*.py"))
    parts = {
        re.sub(r"{.*}", "<name>", part) for part in re.findall(r'Part\(\s*f?"([^"]+)"', source)
    }
    assert parts == set(node_page().DIAGNOSTICS)


@pytest.mark.parametrize("page", NARROW, ids=name_of)
def test_prose_is_at_most_a_hundred_columns_wide(page):
    """Tables and blocks of code may be wider, and what cannot be broken: one link, one command."""
    text = FENCE.sub(lambda block: "\n" * block[0].count("\n"), page.read_text())
    unbreakable = re.compile(r"\S*`[^`]*`\S*|!?\[[^]]*\]\([^)]*\)\S*|\S+")
    wide = [
        number
        for number, line in enumerate(text.splitlines(), 1)
        if len(line) > 100
        and not line.startswith("|")
        and len(unbreakable.findall(line.strip().removeprefix("* "))) > 1
    ]
    assert not wide, f"{name_of(page)}: lines {wide}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_local_link_leads_to_a_file(page):
    text = FENCE.sub("", page.read_text())
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:|#", target):
            assert (page.parent / target.split("#")[0]).exists(), f"{name_of(page)}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_file_of_ours_that_a_page_names_is_there(page):
    """By its whole path, or by its end: `pairing/settings.py` is that of the package."""
    rooms = ("cmdfusion_ros", "launch", "test", "benchmarks", "docs")
    for named in re.findall(r"`([\w./]+\.(?:py|cpp))`", page.read_text()):
        found = any(next((REPOSITORY / room).rglob(named), None) for room in rooms)
        assert found or (REPOSITORY / named).exists(), f"{name_of(page)}: no {named}"


def test_every_page_is_in_the_index():
    listed = set(re.findall(r"^(\w+)$", (DOCS / "index.md").read_text(), re.MULTILINE))
    assert listed == {page.stem for page in DOCS.glob("*.md")} - {"index"}


def files_that_run(verb):
    """Test files that run `cmdfusion verb` and look at what comes of it."""
    call = re.compile(rf'(?:cmdfusion|main|run)\(\s*\[?\s*(?:\*command, )?"{verb}"')
    files = (REPOSITORY / "test").rglob("test_*.py")
    return [path for path in files if call.search(path.read_text())]


def files_named(words):
    """Paths of the repository among the words of a command, {a,b} written out."""
    for word in words:
        braces = re.fullmatch(r"(.*)\{(.*)\}(.*)", word)
        choices = braces[2].split(",") if braces else [None]
        for choice in choices:
            each = word if choice is None else f"{braces[1]}{choice}{braces[3]}"
            each = each.split("=")[-1]
            if each.startswith(("config/", "cmdfusion_ros/", "benchmarks/")):
                yield each


def help_of(script, monkeypatch, capsys, *words):
    """What `python SCRIPT WORDS --help` prints."""
    monkeypatch.setattr(sys, "argv", [str(script), *words, "--help"])
    monkeypatch.syspath_prepend(str(Path(script).parent))
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(script), run_name="__main__")
    printed = capsys.readouterr()
    assert not end.value.code, printed.err
    return printed.out


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_is_run_by_a_test_or_marked_as_not_run(page, monkeypatch, capsys):
    """`cmdfusion`: its options parse, and a test runs that verb; `python FILE`: it starts and has
    those options; `make`: there is such a target. All else is in NOT_RUN with its reason.
    """
    from cmdfusion_ros.cli.main import _parser

    targets = set(re.findall(r"^(\w+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    for first, *words in commands_of(page):
        where = f"{name_of(page)}: {first} {' '.join(words)}"
        for file in files_named(words):
            assert (REPOSITORY / file).exists(), f"{where}: no {file}"
        if first == "cmdfusion":
            assert files_that_run(words[0]), f"{where}: no test runs cmdfusion {words[0]}"
            if "..." not in words:
                try:
                    _parser(words[0]).parse_args(words)
                except SystemExit:
                    pytest.fail(where)
        elif first == "python":
            told = help_of(REPOSITORY / words[0], monkeypatch, capsys)
            unknown = [word for word in words if word.startswith("--") and word not in told]
            assert not unknown, f"{where}: no option {unknown}"
        elif first == "make":
            assert words[0] in targets and f"make {words[0]}" in NOT_RUN, where
        else:
            assert first.split("=")[0] in NOT_RUN, where


def test_every_verb_is_on_the_page_of_the_commands_with_its_words():
    from cmdfusion_ros.cli.main import VERBS

    rows = re.findall(
        r"^\| `cmdfusion (\w+)` \| (.*?) \|", (DOCS / "commands.md").read_text(), re.M
    )
    assert dict(rows) == VERBS and len(rows) == len(VERBS)


@pytest.mark.parametrize("script", BENCHMARKS, ids=lambda path: path.name)
def test_every_benchmark_starts(script, monkeypatch, capsys):
    if script.name not in NO_PROGRAM:
        assert "usage:" in help_of(script, monkeypatch, capsys)


def test_the_examples_for_contributors_run():
    """A network, a reader and a layout, as CONTRIBUTING.md shows them."""
    examples = [
        block
        for kind, block in FENCE.findall((REPOSITORY / "CONTRIBUTING.md").read_text())
        if kind == "python"
    ]
    assert len(examples) == 3
    for example in examples:
        exec(compile(example, "CONTRIBUTING.md", "exec"), {"__name__": "example"})


def defined():
    """{file of the package: names of its functions and classes, methods as Class.method}."""
    package = REPOSITORY / "cmdfusion_ros"
    found = {}
    for path in package.rglob("*.py"):
        names = found[str(path.relative_to(package))] = set()
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                names.add(node.name)
                names |= {f"{node.name}.{each.name}" for each in node.body if hasattr(each, "name")}
    return found


def test_architecture_names_functions_and_files_that_exist():
    names = defined()
    found = re.findall(r"`([\w.]+)`\s\(`([\w/]+\.py)`\)", (DOCS / "architecture.md").read_text())
    assert len(found) >= 12
    for name, file in found:
        assert name in names[file], f"{name}: {file}"


@pytest.mark.parametrize(
    ("title", "steps", "last"),
    [
        ("The flow of one cloud", 8, "write_labelled_cloud"),
        ("The flow of one training step", 7, "Trainer._save_network"),
    ],
)
def test_a_flow_is_read_aloud_in_at_most_eight_steps_whose_every_name_exists(title, steps, last):
    text = (DOCS / "architecture.md").read_text()
    (section,) = re.findall(rf"^## {title}.*?\n(.*?)^## ", text, re.DOTALL | re.MULTILINE)
    found = re.findall(r"^\d+\. (.*?)(?=^\d+\. |\n\n)", section + "\n\n", re.DOTALL | re.MULTILINE)
    assert len(found) == steps <= 8 and last in found[-1]
    files, names = defined(), set.union(*defined().values())
    methods = {name.split(".")[-1] for name in names if name.split(".")[-1].startswith("_")}
    for step in found:
        for word in re.findall(r"`([\w./]+)`", step):
            if word.endswith(".py"):
                known = any(file.endswith(word) for file in files)
            elif word.endswith("/"):
                known = any(file.startswith(word) for file in files)
            else:
                known = word in names | methods or word == "max_wait"
            assert known, f"{title}: no {word}"


def test_no_page_or_file_cites_a_design_that_is_not_in_the_repository():
    folders = ("cmdfusion_ros", "config", "docs", "launch", "msg", "srv", "benchmarks")
    files = [path for folder in folders for path in (REPOSITORY / folder).rglob("*.*")]
    for path in [*files, *PAGES]:
        if path.suffix in (".py", ".md", ".yaml", ".msg", ".srv"):
            text = path.read_text()
            cited = re.findall(r"methods\.md|ros_node\.md|\(methods,? [A-D]\.\d|shared/data", text)
            assert not cited, f"{path}: {cited}"


def test_the_pages_build_without_a_warning(tmp_path):
    for module in ("sphinx", "myst_parser", "furo"):
        pytest.importorskip(module, reason=f"{module} is not installed: pip install '.[docs]'")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", str(DOCS), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
