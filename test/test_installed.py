"""The command as people have it: run from an empty folder, where only what was installed is found.

Four ways of having it: this environment (with the colcon overlay that holds our messages, where
that is built), a wheel beside such an overlay, a wheel made from the sdist, and a colcon build.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml
from builders.paths import REPOSITORY

from cmdfusion_ros.cli.main import VERBS

PATIENCE = 600  # seconds: a busy machine imports torch slowly
RECIPE = {
    "class_map": "street",
    "model": {"channels": 4, "voxel_size": 1.0, "strides": [1, 2]},
    "train": {"root": "world", "sequences": ["00"]},
    "validation": {"root": "world", "sequences": ["01"]},
    "steps": 2,
    "save_every": 1,
}


def run(command, folder, environment):
    """The command's output; it must end with 0."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    said = f"{command}: {done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    assert done.returncode == 0, said
    return done.stdout


def use(command, folder, environment, bag):
    """Make a world, learn it, score the network, label a bag; all from `folder`, which is empty."""
    assert not list(folder.iterdir())
    help_text = run([*command, "--help"], folder, environment)
    assert all(verb in help_text for verb in VERBS)
    world = ["world", "--sequences", 2, "--scans", 1, "--no-images", "--processes", 1]
    run([*command, *world, "--out", "world", "--rig", "nuscenes"], folder, environment)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    words = ["recipe.yaml", "--data", ".", "--out", "run", "--threads", 1]
    run([*command, "train", *words], folder, environment)
    chosen = ["--data", "world", "--sequences", "01"]
    words = ["evaluate", "run/network.safetensors", *chosen]
    assert "mean" in run([*command, *words], folder, environment)
    run([*command, "label", bag, "--out", "labelled", "--backend", "fake"], folder, environment)
    assert (folder / "labelled" / "metadata.yaml").exists()
    run([*command, "doctor"], folder, environment)


def clean_environment(**more):
    """This environment without what points at the repository."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**kept, "OMP_NUM_THREADS": "1", **more}


def overlay():
    """site-packages of the colcon workspace with our messages; None where they are not built."""
    import cmdfusion_ros

    places = [Path(place).parent for place in cmdfusion_ros.__path__]
    return next((place for place in places if place != REPOSITORY), None)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A copy of the repository as git would give it: building writes beside the sources."""
    copy = tmp_path_factory.mktemp("sources") / "cmdfusion_ros"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    if listed.returncode:
        pytest.skip("needs git and a checkout, to know what belongs to the repository")
    for name in filter(None, listed.stdout.split("\0")):
        if (REPOSITORY / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, copy / name)
    return copy


def venv_with(wheel, folder):
    """bin/ of a virtual environment that has `wheel` itself, and from the environment of the tests
    everything else; the .pth of an editable install counts only where it lies.
    """
    run([sys.executable, "-m", "venv", "--without-pip", folder], folder.parent, clean_environment())
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = folder / "lib" / version / "site-packages"
    (site / "others.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    install = ["install", "--quiet", "--no-deps", "--no-index", "--no-warn-script-location"]
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python"]
    run([*pip, *install, "--ignore-installed", wheel], folder.parent, clean_environment())
    return folder / "bin"


def build_wheel(source, folder):
    """Path of the wheel of a source tree or sdist."""
    words = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    run(
        [sys.executable, "-m", "pip", *words, "--wheel-dir", folder, source],
        folder.parent,
        clean_environment(),
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


def test_installed_in_this_environment(small_bag, tmp_path):
    """With the overlay first on the path, as `source .venv/setup.bash` puts it."""
    script = Path(sys.executable).with_name("cmdfusion")
    if not script.exists():
        pytest.skip("the package is not installed here: pip install -e .")
    first = [str(overlay())] if overlay() else []
    environment = clean_environment(PYTHONPATH=os.pathsep.join([*first, str(REPOSITORY)]))
    use([script], tmp_path, environment, small_bag)


def test_a_wheel_beside_a_colcon_workspace(small_bag, sources, tmp_path):
    (tmp_path / "wheels").mkdir()
    binaries = venv_with(build_wheel(sources, tmp_path / "wheels"), tmp_path / "venv")
    environment = clean_environment(**({"PYTHONPATH": str(overlay())} if overlay() else {}))
    (tmp_path / "empty").mkdir()
    use([binaries / "cmdfusion"], tmp_path / "empty", environment, small_bag)
    shared = tmp_path / "venv" / "share" / "cmdfusion_ros"
    ours = {str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "config").rglob("*.*")}
    theirs = {str(path.relative_to(shared)) for path in (shared / "config").rglob("*.*")}
    assert theirs == ours


def test_an_sdist_holds_all_that_a_wheel_needs(small_bag, sources, tmp_path):
    make = "from setuptools import setup; import runpy, sys; runpy.run_path('setup.py')"
    words = ["--quiet", "sdist", "--dist-dir", tmp_path / "sdists"]
    run([sys.executable, "-c", make, *words], sources, clean_environment())
    (sdist,) = (tmp_path / "sdists").glob("*.tar.gz")
    (tmp_path / "wheels").mkdir()
    binaries = venv_with(build_wheel(sdist, tmp_path / "wheels"), tmp_path / "venv")
    (tmp_path / "empty").mkdir()
    use([binaries / "cmdfusion"], tmp_path / "empty", clean_environment(), small_bag)


def test_a_colcon_build(small_bag, sources, tmp_path):
    missing = [tool for tool in ("colcon", "cmake", "g++") if shutil.which(tool) is None]
    if missing or overlay() is None:
        pytest.skip(f"needs ROS 2 and a compiler to build with; missing: {missing or 'messages'}")
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    words = ["--paths", sources, "--packages-select", "cmdfusion_ros"]
    places = ["--build-base", workspace / "build", "--install-base", workspace / "install"]
    cmake = ["--cmake-args", "-DBUILD_TESTING=OFF"]
    run(
        ["colcon", "--log-base", workspace / "log", "build", *words, *places, *cmake],
        workspace,
        clean_environment(),
    )
    script = workspace / "install" / "cmdfusion_ros" / "lib" / "cmdfusion_ros" / "cmdfusion"
    (tmp_path / "empty").mkdir()
    source = f'source {workspace}/install/local_setup.bash && exec {script} "$@"'
    command = ["bash", "-c", source, "cmdfusion"]
    use(command, tmp_path / "empty", clean_environment(), small_bag)
