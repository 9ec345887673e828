"""Which scans a network has seen, directly or through the networks that it learnt from."""


def scans_seen(card):
    """Names of the scans that weights were trained on, those that they started from and their
    teachers' included: a set, from a checkpoint's card.
    """
    before = card.get("started_from")
    others = [before] if before else []
    return set(card.get("trained_on", ())).union(
        *(scans_seen(other) for other in (*others, *card.get("teachers", ())))
    )


def scans_calibrated_on(card):
    """Names of the scans that temperatures were fitted on: a set, from a checkpoint's card. They
    change no label, so these are not among `scans_seen`.
    """
    return set(card.get("calibration", {}).get("scans", ()))
