"""A confusion matrix as text: what is called what, and why a class has an IoU of 0."""

from collections.abc import Mapping, Sequence

import numpy as np

_MOST_CLASSES = 20  # of a table that fits a screen
_MOST_NAMED = 3  # classes that are said of one


def confusion_table(names: Sequence[str], confusion: Sequence[Sequence[int]]) -> list[str]:
    """Lines: a row a class, with the percent of its points that each class (by its number) is
    answered for. Without classes that have neither points nor answers; none where more than 20
    are left.

    Args:
        names: of the classes.
        confusion: (C, C + 1), points of the class of the row that were answered as that of the
            column; of the last not at all.
    """
    counts = np.asarray(confusion, np.int64)[:, : len(names)]
    shown = np.flatnonzero(counts.sum(0) + counts.sum(1))
    if len(shown) > _MOST_CLASSES:
        return []
    lines = ["% of a row's points that are called:"]
    lines.append(f"{'':<19}" + "".join(f"{number:>5}" for number in shown))
    for row in shown:
        total = int(np.sum(confusion[row]))
        cells = "".join(f"{100 * counts[row, col] / max(total, 1):>5.0f}" for col in shown)
        lines.append(f"{row:>3} {names[row]:<15}" + (cells if total else "  no point"))
    return lines


def why_zero(
    names: Sequence[str],
    confusion: Sequence[Sequence[int]],
    trained_points: Mapping[str, int] | None = None,
) -> list[str]:
    """Lines: for each class with points and an IoU of 0, or with answers and no point, why.

    Args:
        names, confusion: as of `confusion_table`.
        trained_points: points of each class that the checkpoint was trained on, where its card says
            so.
    """
    counts, lines = np.asarray(confusion, np.int64), []
    answers = [*names, "nothing"]
    for row, name in enumerate(names):
        own, called = int(counts[row].sum()), int(counts[:, row].sum())
        if counts[row, row] or not own + called:
            continue
        if not own:
            lines.append(f"{name}: no point of it in these scans, {called} of others are called so")
            continue
        most = [col for col in np.argsort(-counts[row], kind="stable") if counts[row, col]]
        named = ", ".join(
            f"{100 * counts[row, col] / own:.0f} % {answers[col]}" for col in most[:_MOST_NAMED]
        )
        why = f"{name}: of its {own} points none is right ({named})"
        if trained_points is not None and not trained_points.get(name):
            why += "; the checkpoint was trained on no point of it"
        elif not called:
            why += "; nothing is ever called so"
        lines.append(why)
    return lines
