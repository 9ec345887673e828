"""ROS domains that one process of this machine has for itself."""

import socket
import subprocess
import sys
from contextlib import ExitStack

import pytest

from cmdfusion_ros.cli.runs.domains import DOMAINS, own_domain
from cmdfusion_ros.cli.runs.processes import ProcessError

HOLDER = (
    "import time\nfrom cmdfusion_ros.cli.runs.domains import own_domain\n"
    "with own_domain() as number:\n    print(number, flush=True)\n    time.sleep(60)"
)


def test_who_asks_while_others_hold_theirs_gets_another_one():
    with ExitStack() as held:
        numbers = [held.enter_context(own_domain()) for _ in range(8)]
        assert len(set(numbers)) == 8 and set(numbers) <= set(DOMAINS)


def test_where_all_are_taken_it_says_so_and_one_that_is_left_can_be_had_again():
    with own_domain() as number:
        with pytest.raises(ProcessError, match="no ROS domain is free on this machine"):
            with own_domain([number]):
                pass
    with own_domain([number]) as again:
        assert again == number


def test_what_another_process_holds_is_free_when_it_is_killed():
    process = subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True)
    try:
        number = int(process.stdout.readline())
        with pytest.raises(ProcessError):
            with own_domain([number]):
                pass
    finally:
        process.kill()
        process.wait()
    with own_domain([number]) as mine:
        assert mine == number


def test_a_domain_in_which_somebody_talks_already_is_left_alone():
    with own_domain() as number:
        pass
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as somebody:
        somebody.bind(("127.0.0.1", 7410 + 250 * number))
        with pytest.raises(ProcessError):
            with own_domain([number]):
                pass
