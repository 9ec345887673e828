"""`cmdfusion label --cluster`: bags over the nodes of a Ray cluster, two of which run here."""

import re
import signal
import subprocess
import sys
import time

import pytest
from builders.commands import cmdfusion
from builders.drives import write_lane_bag

from cmdfusion_ros import __version__
from cmdfusion_ros.cli.runs.ray_workers import label_on_node, task_options

NEEDS_RAY = "needs Ray: pip install 'cmdfusion_ros[ray]'"
PATIENCE = 300  # seconds
ON_NODE = "import sys; from cmdfusion_ros.cli.runs.ray_workers import label_on_node as run\n"


@pytest.fixture(scope="module")
def bags(tmp_path_factory):
    """Three drives, of which two take a while."""
    folder = tmp_path_factory.mktemp("drives")
    lengths = {"one": 30, "two": 30, "three": 2}
    return [write_lane_bag(folder / name, count) for name, count in lengths.items()]


@pytest.fixture(scope="module")
def alone(bags, tmp_path_factory):
    """The labels that one worker of this machine makes."""
    out = tmp_path_factory.mktemp("alone") / "out"
    assert cmdfusion("label", *bags, "--out", out, "--device", "cpu", "--processes", 1) == 0
    return labels_of(out)


@pytest.fixture(scope="module")
def cluster():
    pytest.importorskip("ray", reason=NEEDS_RAY)
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": 80 << 20}
    head = {"num_cpus": 0, "include_dashboard": False, **small}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(2):
        cluster.add_node(num_cpus=1, **small)
    yield cluster
    cluster.shutdown()


def labels_of(out):
    return {path.relative_to(out): path.read_bytes() for path in sorted(out.glob("*/*"))}


def start(cluster, bags, out):
    words = ("label", *bags, "--out", out, "--device", "cpu", "--cluster", cluster.address)
    command = [sys.executable, "-m", "cmdfusion_ros", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_until_labelling(out, name):
    """The process id that labels a bag, once it has begun to write."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if list(out.glob(f".partial.*/*/{name}/*.mcap")):
            return int(re.search(r"process (\d+)", (out / f"{name}.log").read_text())[1])
        time.sleep(0.005)
    raise AssertionError(f"{name} was not begun")


def test_two_nodes_write_the_bytes_of_one_worker_and_a_killed_one_loses_nothing(
    cluster, bags, alone, tmp_path
):
    running = start(cluster, bags, tmp_path / "out")
    subprocess.run(["kill", "-9", str(wait_until_labelling(tmp_path / "out", "one"))], check=True)
    said, _ = running.communicate(timeout=PATIENCE)
    assert running.returncode == 0, said
    assert "one: its worker was lost (WorkerCrashedError); again" in said
    assert "3/3 bags  62 clouds" in said and "3 of 3 bags labelled" in said
    assert labels_of(tmp_path / "out") == alone
    assert not list((tmp_path / "out").glob(".partial*"))


def test_ctrl_c_ends_the_tasks_and_leaves_no_half_bag(cluster, bags, tmp_path):
    import ray  # the fixture skips without it

    running = start(cluster, bags, tmp_path / "out")
    wait_until_labelling(tmp_path / "out", "one")
    running.send_signal(signal.SIGINT)
    said, _ = running.communicate(timeout=PATIENCE)
    assert running.returncode == 130, said
    ray.init(address=cluster.address, log_to_driver=False)
    try:
        end = time.monotonic() + PATIENCE
        while ray.available_resources().get("CPU", 0) < ray.cluster_resources()["CPU"]:
            assert time.monotonic() < end, "cores are still taken"
            time.sleep(0.2)
    finally:
        ray.shutdown()
    assert not (tmp_path / "out" / "one").exists()


def test_the_bag_of_a_node_that_is_gone_is_done_again(cluster, bags, alone, tmp_path):
    running = start(cluster, bags, tmp_path / "out")
    for name in ("one", "two"):
        wait_until_labelling(tmp_path / "out", name)
    cluster.remove_node(list(cluster.worker_nodes)[0], allow_graceful=False)
    said, _ = running.communicate(timeout=PATIENCE)
    assert running.returncode == 0, said
    assert re.search(r"(one|two): its worker was lost \(\w+\); again", said), said
    assert labels_of(tmp_path / "out") == alone


def test_a_task_asks_for_a_core_and_with_cuda_for_a_gpu():
    assert task_options("cpu", 1)["num_gpus"] == 0 and task_options("auto", 1)["num_gpus"] == 0
    assert task_options("cuda", 1)["num_gpus"] == 1 and task_options("cuda:0", 3)["num_cpus"] == 3


@pytest.mark.parametrize(
    ("version", "words", "code", "says"),
    [
        (__version__, ["label", "nowhere", "--out", "x"], 2, "cmdfusion label: bag nowhere: there"),
        (__version__, ["label", "--no-such-option"], 2, "usage: cmdfusion"),
        ("0.0.0", ["label", "nowhere", "--out", "x"], 2, "expected cmdfusion_ros 0.0.0 on every"),
    ],
)
def test_what_happens_on_a_node_is_in_the_log(tmp_path, version, words, code, says):
    log = tmp_path / "bag.log"
    words = f"sys.exit(run({words!r}, {str(log)!r}, {version!r}))"
    assert subprocess.run([sys.executable, "-c", ON_NODE + words]).returncode == code
    said = log.read_text()
    assert says in said and re.match(r"on \S+, process \d+\n", said)
    assert callable(label_on_node)


def test_without_ray_the_extra_is_named(bags, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    words = ("--out", tmp_path / "out", "--cluster", "auto")
    assert cmdfusion("label", *bags, *words) == 2
    assert "pip install 'cmdfusion_ros[ray]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("address", "says"),
    [("127.0.0.1:9", "nothing answers there"), ("somewhere", "expected HOST:PORT")],
)
def test_where_no_cluster_is_it_is_said(bags, tmp_path, monkeypatch, capsys, address, says):
    monkeypatch.setitem(sys.modules, "ray", object())  # it is not asked
    assert cmdfusion("label", *bags, "--out", tmp_path / "out", "--cluster", address) == 2
    assert f"--cluster {address}: {says}" in capsys.readouterr().err


def test_fewer_than_one_worker_is_refused(bags, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", object())
    words = ("--out", tmp_path / "out", "--cluster", "auto", "--processes", 0)
    assert cmdfusion("label", *bags, *words) == 2
    assert "--processes 0: expected 1 or more" in capsys.readouterr().err
