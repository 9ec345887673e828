"""Which scans a network has seen, directly or through the networks that it learnt from, and what
of them must not be validated on.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from cmdfusion_ros.data.readers.data_settings import Mixture
from cmdfusion_ros.data.readers.scan_set import ScanSet

OWN = "own"  # what a folder of one's own is called in the names of its scans
# what a card keeps of the networks it learnt from
_OF_OTHERS = ("name", "trained_on", "steps", "licence", "attribution", "started_from", "teachers")


def kept_of(card: Mapping[str, Any]) -> dict[str, Any]:
    """What another network's card keeps of this one: a dict."""
    return {name: card[name] for name in _OF_OTHERS if name in card}


def scans_seen(card: Mapping[str, Any]) -> set[str]:
    """Names of the scans that weights were trained on, those that they started from and their
    teachers' included: a set, from a checkpoint's card.
    """
    before = card.get("started_from")
    others = [before] if before else []
    return set(card.get("trained_on", ())).union(
        *(scans_seen(other) for other in (*others, *card.get("teachers", ())))
    )


def scans_met(names: Iterable[str], seen: set[str], called: str = "") -> list[str]:
    """Which of the scans `names` are among those `seen`, sorted, by the names seen.

    Where nobody said what the set is `called`, it may be the folder of one's own that was trained
    on: own/00/000003 then stands for yard/00/000003 too.
    """
    met = seen.intersection(names)
    if not called:
        met |= seen.intersection(f"{OWN}/{name.partition('/')[2]}" for name in names)
    return sorted(met)


def scans_calibrated_on(card: Mapping[str, Any]) -> set[str]:
    """Names of the scans that temperatures were fitted on: a set, from a checkpoint's card. They
    change no label, so these are not among `scans_seen`.
    """
    return set(card.get("calibration", {}).get("scans", ()))


def refuse_overlap(scans: Mixture, validation_scans: ScanSet | Mixture | None) -> None:
    """ValueError where a scan is both trained and validated on; `validation_scans` may be None."""
    shared = (
        sorted(set(scans.names) & set(validation_scans.names))
        if validation_scans is not None
        else []
    )
    if shared:
        raise ValueError(
            f"recipe: {len(shared)} scans are both trained on and validated on ({shared[0]}, "
            "...); move first_scan or last_scan"
        )


def refuse_that_saw(
    validation_scans: ScanSet | Mixture | None, card: Mapping[str, Any], what: str
) -> None:
    """ValueError where the network of a card, `what` to the user, has seen a validation scan."""
    shared = (
        sorted(scans_seen(card) & set(validation_scans.names))
        if validation_scans is not None
        else []
    )
    if shared:
        raise ValueError(
            f"{what} {card.get('name')} was trained on {len(shared)} of the validation scans "
            f"({shared[0]}, ...); take another"
        )
