"""Which scans of a drive are learnt and which judge: stretches, as scans beside each other are
nearly the same."""

import numpy as np

_STRETCHES_EVERY_S = 60.0


def held_out_stretches(
    stamps: list[int], share: float, gap_s: float
) -> tuple[list[int], list[int]]:
    """(numbers of the scans that are learnt, of those that judge), each ascending.

    A drive is cut into equal parts of a minute at most; the last `share` of each part judges. Scans
    within `gap_s` of a judging one are in neither; of a drive so short that this would leave less
    than half of the rest, within as much of it as leaves that.

    Args:
        stamps: of the scans, ascending, ns. share: of the scans that judge. gap_s: seconds.

    Raises:
        ValueError: fewer than two scans.
    """
    number = len(stamps)
    if number < 2:
        raise ValueError(
            f"expected at least two scans, one to learn and one to judge, got {number}"
        )
    seconds = (np.array(stamps) - stamps[0]) / 1e9
    parts = max(int(np.ceil(seconds[-1] / _STRETCHES_EVERY_S)), 1)
    place = (np.arange(number) * parts / number) % 1.0  # of each scan in its part
    judges = place >= 1 - share
    judges[-1] = True
    judges[0] = False
    rest = np.flatnonzero(~judges)
    nearest = np.abs(seconds[rest][:, None] - seconds[judges][None]).min(1)
    while (nearest > gap_s).sum() < len(rest) / 2 and gap_s > 0.01:
        gap_s /= 2  # a short drive: better near than nothing
    kept = rest[nearest > gap_s]
    return kept.tolist(), np.flatnonzero(judges).tolist()
