"""The doctor says what is there, what is missing and what that costs; only what labelling needs
makes it fail.
"""

from types import SimpleNamespace

import pytest
from builders.commands import cmdfusion

from cmdfusion_ros.cli import doctor
from cmdfusion_ros.cli.doctor import BAD, GOOD, MISSING, Finding
from cmdfusion_ros.ros import interfaces


def test_the_report_names_every_section_and_ends_with_0_where_labelling_works(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "network_findings", lambda: [Finding(GOOD, "weights", "there")])
    assert cmdfusion("doctor") == 0
    text = capsys.readouterr().out
    assert all(
        word in text
        for word in ("This package", "Network", "ROS 2", "numpy", "rclpy", "Fast DDS profile")
    )
    monkeypatch.setattr(doctor, "network_findings", lambda: [Finding(BAD, "weights", "gone")])
    assert cmdfusion("doctor") == 1


def test_the_network_section_names_weights_classes_device_and_backend():
    findings = {finding.subject: finding for finding in doctor.network_findings()}
    assert findings["weights"].level == GOOD and "parameters" in findings["weights"].words
    assert (
        "road" in findings["classes"].words
        and "auto takes" in findings["device"].words
        and "auto takes" in findings["sparse backend"].words
    )


def test_the_backends_that_are_not_taken_are_listed_with_why():
    findings = {finding.subject.strip(): finding for finding in doctor.network_findings()}
    others = {"torch", "cpu", "triton", "torchsparse"} - {
        findings["sparse backend"].words.split()[2].rstrip(":")
    }
    assert others <= findings.keys()
    assert all(findings[name].level != doctor.BAD for name in others)


def test_missing_weights_are_bad_and_say_what_to_do(monkeypatch, tmp_path):
    from cmdfusion_ros import inference

    def no_weights():
        raise FileNotFoundError("weights are not installed; reinstall the package")

    monkeypatch.setattr(inference, "default_checkpoint_path", no_weights)
    assert (
        Finding(BAD, "weights", "weights are not installed; reinstall the package")
        in doctor.network_findings()
    )


def test_without_any_ros_package_nothing_is_bad(monkeypatch):
    monkeypatch.setattr(doctor, "installed", lambda module: False)
    monkeypatch.delenv("ROS_DISTRO", raising=False)
    findings = {finding.subject: finding for finding in doctor.ros_findings()}
    assert not any(finding.level == BAD for finding in findings.values())
    assert (
        "work offline" in findings["rclpy"].words
        and "colcon build" in findings["our messages"].words
    )


def test_every_package_that_the_node_imports_messages_from_is_looked_for_as_the_node_needs_it():
    needed = {package for package, (is_needed, _) in doctor._ROS.items() if is_needed}
    assert needed == {"rclpy", *interfaces._REQUIRED}
    assert {name.split(".")[0] for name in interfaces._OPTIONAL} - {"cmdfusion_ros"} <= set(
        doctor._ROS
    ) - needed


@pytest.mark.parametrize(
    "environment, level, words",
    [
        ({}, MISSING, "export FASTDDS_DEFAULT_PROFILES_FILE=/share/profile.xml"),
        (
            {"FASTDDS_DEFAULT_PROFILES_FILE": "/nowhere.xml"},
            MISSING,
            "/nowhere.xml, which does not exist",
        ),
        ({"FASTDDS_DEFAULT_PROFILES_FILE": __file__}, GOOD, __file__),
        ({"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"}, GOOD, "not needed: rmw_cyclonedds_cpp"),
    ],
)
def test_the_transport_profile_is_judged_by_the_environment(environment, level, words, monkeypatch):
    monkeypatch.delenv("ROS_DISTRO", raising=False)
    finding = doctor.profile_finding(environment, "/share/profile.xml")
    assert finding.level == level and words in finding.words


def test_shared_memory_that_is_too_small_or_full_of_what_was_left_is_told(tmp_path, monkeypatch):
    assert doctor.shared_memory_findings(tmp_path / "none") == []
    (tmp_path / "fastdds_1234").write_bytes(bytes(3_000_000))
    (tmp_path / "sem.fastdds_port7400_mutex").write_bytes(bytes(1_000_000))
    (tmp_path / "of_another_program").write_bytes(bytes(9_000_000))

    def found(free):
        monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
        return doctor.shared_memory_findings(tmp_path)[0]

    enough, small, full = found(200e6), found(64e6), found(2e6)
    assert (
        enough.level == GOOD
        and "200 MB free" in enough.words
        and "4 MB in files of Fast DDS" in enough.words
    )
    assert small.level == MISSING and "--shm-size=1g" in small.words
    assert full.level == MISSING and "fastdds shm clean" in full.words
