"""Why rows of a cloud are no points that can be labelled."""

import numpy as np

from cmdfusion_ros.messages.clouds import MAX_RANGE


def lost_points(
    points: np.ndarray, scale: float, min_range: float, max_range: float = 0.0
) -> dict[str, int]:
    """{cause: how many}, the most first, without those that are 0.

    Args:
        points: (N, 3), as they came. scale: metres in a unit of theirs.
        min_range, max_range: metres, as the node's points.*; a `max_range` of 0 is none.
    """
    finite = np.isfinite(points).all(axis=1)
    zero = finite & ~points.any(axis=1)
    with np.errstate(over="ignore", invalid="ignore"):
        distance = scale * np.linalg.norm(points.astype(np.float64), axis=1)
    beyond = finite & (distance >= MAX_RANGE)
    causes = {
        "no return (0, 0, 0)": zero,
        "not finite": ~finite,
        f"beyond {MAX_RANGE / 1000:g} km, as coordinates of UTM are": beyond,
        f"nearer than {min_range:g} m": finite & ~zero & (distance < min_range),
    }
    if max_range:
        causes[f"farther than {max_range:g} m"] = finite & ~beyond & (distance > max_range)
    counts = {cause: int(np.count_nonzero(rows)) for cause, rows in causes.items()}
    return dict(sorted(((c, n) for c, n in counts.items() if n), key=lambda item: -item[1]))
