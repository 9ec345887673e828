"""ROS domains for runs that nobody else shall hear, each held by one process of this machine."""

import random
import socket
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cmdfusion_ros.cli.runs.processes import ProcessError

# 0 is everybody's; from 102 on a domain's ports are among those that Linux gives to others
DOMAINS = range(1, 102)
# of DDS: domain d has the UDP ports from 7400 + 250 d on
_FIRST_PORT, _PORTS = 7400, 250


@contextmanager
def own_domain(among: Collection[int] = DOMAINS) -> Iterator[int]:
    """The number of a ROS domain that nobody else on this machine has while the `with` lasts.

    It is held by the TCP port on localhost with the number of the domain's first UDP port, which
    DDS leaves alone; so it is free again when this process ends, however it ends. Domains in which
    somebody talks who did not ask here are left alone too, where there is a /proc to see it.

    Raises:
        ProcessError: every domain is taken.
    """
    heard = _domains_in_use()
    for number in random.SystemRandom().sample(list(among), len(among)):
        if number in heard:
            continue
        holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            holder.bind(("127.0.0.1", _FIRST_PORT + _PORTS * number))
        except OSError:
            holder.close()
            continue
        with holder:
            yield number
        return
    raise ProcessError(
        f"no ROS domain is free on this machine: expected one of {min(among)} to {max(among)} that "
        "no other run holds and nobody talks in; end other runs or ROS processes, and try again"
    )


def _domains_in_use():
    ports = set()
    for name in ("udp", "udp6"):
        with suppress(OSError):
            lines = Path("/proc/net", name).read_text().splitlines()[1:]
            ports |= {int(line.split()[1].rpartition(":")[2], 16) for line in lines}
    return {(port - _FIRST_PORT) // _PORTS for port in ports}
