"""The pages: made from the code or held to it, their links lead somewhere, their commands parse."""

import importlib.util
import re
import shlex
import subprocess
import sys

import pytest
from builders.paths import REPOSITORY

DOCS = REPOSITORY / "docs"
PAGES = sorted([*DOCS.glob("*.md"), *REPOSITORY.glob("*.md")])
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
# README.md is one page's worth of prose that is rewritten as a whole
NARROW = [page for page in PAGES if page.name != "README.md"]
# what the tests do not run: it needs a robot's ROS 2, the network or another machine
MARKED = {
    "cd", "colcon", "export", "git", "pip", "pre-commit", "profile", "python3", "ros2", "rosdep",
    "source", "torchrun", "touch",
}  # fmt: skip


def name_of(page):
    return str(page.relative_to(REPOSITORY))


def node_page():
    """docs/make_node_page.py as a module."""
    spec = importlib.util.spec_from_file_location("make_node_page", DOCS / "make_node_page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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


def test_every_page_is_in_the_index():
    listed = set(re.findall(r"^(\w+)$", (DOCS / "index.md").read_text(), re.MULTILINE))
    assert listed == {page.stem for page in DOCS.glob("*.md")} - {"index"}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_is_one_that_exists_or_is_marked(page):
    """`cmdfusion`: its options parse; `make`: there is such a target; `python FILE`: there is such
    a file. What no test can run is marked above.
    """
    from cmdfusion_ros.cli.main import _parser

    targets = set(re.findall(r"^(\w+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    for first, *words in commands_of(page):
        where = f"{name_of(page)}: {first} {' '.join(words)}"
        if first == "cmdfusion" and "..." not in words:
            try:
                _parser(words[0]).parse_args(words)
            except SystemExit:
                pytest.fail(where)
        elif first == "make":
            assert words[0] in targets, where
        elif first == "python":
            assert words[0] == "-m" or (REPOSITORY / words[0]).exists(), where
        elif first != "cmdfusion":
            assert first.split("=")[0] in MARKED, where


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


def test_architecture_names_functions_and_files_that_exist():
    text = (DOCS / "architecture.md").read_text()
    package = REPOSITORY / "cmdfusion_ros"
    found = re.findall(r"`([\w.]+)` \(`([\w/]+\.py)`\)", text)
    assert len(found) >= 12
    for name, file in found:
        source = (package / file).read_text()
        for part in name.split("."):
            assert re.search(rf"^ *(def|class) {part}\b", source, re.MULTILINE), f"{name}: {file}"


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
