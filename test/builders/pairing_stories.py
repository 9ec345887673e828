"""What the tests of the synchroniser are told with: regular sensors, single messages, and the
simulation that plays them (benchmarks/pairing_simulation.py).
"""

from builders.simulated import BEGIN, MS, Arrival

from cmdfusion_ros.pairing.settings import CameraTiming, PairingSettings, ScanTiming, SyncSettings


def settings(*cameras, timing=None, scan=None, **sync):
    """PairingSettings of cameras with equal timing."""
    return PairingSettings(
        SyncSettings(**sync),
        scan or ScanTiming(),
        {camera: timing or CameraTiming() for camera in cameras},
    )


def stream(camera, count, period=100, latency=30, begin=200, offset=0):
    """Arrivals of a regular sensor; milliseconds. camera None gives clouds."""
    stamps = [begin + offset + index * period for index in range(count)]
    return [
        Arrival((stamp + latency) * MS, camera, BEGIN + stamp * MS, f"{camera or 'cloud'} {index}")
        for index, stamp in enumerate(stamps)
    ]


def cloud(time, stamp, payload="cloud"):
    """A cloud that arrives at `time` with the stamp `stamp`; milliseconds."""
    return Arrival(time * MS, None, BEGIN + stamp * MS, payload)


def image(camera, time, stamp, payload="image"):
    """An image that arrives at `time` with the stamp `stamp`; milliseconds."""
    return Arrival(time * MS, camera, BEGIN + stamp * MS, payload)


def story(clouds):
    """What matters of released clouds: stamps, images and modes."""
    return [
        (paired.stamp, {name: used.stamp for name, used in paired.images.items()}, paired.mode)
        for paired in clouds
    ]


def modes(played):
    """The Mode of each released cloud."""
    return [paired.mode for paired in played.clouds]


def waits(played):
    """The wait of each released cloud, milliseconds."""
    return [paired.wait_ns / MS for paired in played.clouds]
