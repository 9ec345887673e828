"""`cli.runs.options`: what verbs that read a data set have in common."""

import argparse

from cmdfusion_ros.cli.runs.options import add_data_options, data_settings


def test_the_data_options_alone_are_all_that_the_settings_need():
    parser = argparse.ArgumentParser()
    add_data_options(parser, "read", required=False)
    asked = ["--layout", "semantic_kitti", "--sequences", "03"]
    assert not data_settings(parser.parse_args(asked)).partly
    settings = data_settings(parser.parse_args([*asked, "--partly", "--last-scan", "7"]))
    assert settings.partly and settings.sequences == ("03",) and settings.last_scan == 7
