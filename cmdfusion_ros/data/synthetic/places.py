"""Kinds of places, as shares and ranges from which a seed draws a street."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """What kind of street. Pairs are (least, most), in metres where not said otherwise.

    Attributes:
        lots: share of each kind of lot beside the street, by name in lots.py.
        lane: width of a lane. lanes: share of streets with two lanes each way.
        walk: share of sides with a footway. walk_width: of those.
        verge: share of sides with a strip of lawn between kerb and footway.
        parking: share of sides with a strip to park in. parked: share of it that is taken.
        kerbless: share of streets whose footways lie as low as the road.
        junctions: from one side road to the next.
        slope: rise of the land beside the street, metres a metre. ditch: share of sides with one.
        rail: share of sides without a footway that have a crash barrier.
        people: people who stand about, against a suburb's.
    """

    lots: dict
    lane: tuple = (2.7, 3.5)
    lanes: float = 0.0
    walk: float = 0.95
    walk_width: tuple = (1.5, 3.2)
    verge: float = 0.35
    parking: float = 0.25
    parked: tuple = (0.0, 0.4)
    kerbless: float = 0.15
    junctions: tuple = (45.0, 110.0)
    slope: tuple = (-0.1, 0.11)
    ditch: float = 0.0
    rail: float = 0.2
    people: float = 1.0


PLACES = {
    "suburb": Place(
        {"garden": 0.47, "villa": 0.13, "row": 0.09, "park": 0.08, "wood": 0.1, "lawn": 0.09,
         "hall": 0.02, "field": 0.02},
    ),
    "town": Place(
        {"row": 0.47, "hall": 0.09, "garden": 0.11, "park": 0.1, "square": 0.09, "carpark": 0.06,
         "lawn": 0.05, "wood": 0.03},
        lane=(2.9, 3.6), lanes=0.35, walk=1.0, walk_width=(2.0, 5.5), verge=0.25, parking=0.5,
        parked=(0.1, 0.75), kerbless=0.12, slope=(-0.02, 0.05), people=3.0,
    ),
    "village": Place(
        {"garden": 0.33, "farm": 0.17, "row": 0.11, "villa": 0.08, "wood": 0.12, "field": 0.09,
         "lawn": 0.1},
        lane=(2.3, 3.1), walk=0.5, walk_width=(1.0, 2.2), verge=0.25, parking=0.08,
        parked=(0.0, 0.3), kerbless=0.5, slope=(-0.14, 0.15),
    ),
    "country": Place(
        {"wood": 0.38, "field": 0.38, "farm": 0.07, "garden": 0.06, "lawn": 0.11},
        lane=(2.6, 3.8), lanes=0.12, walk=0.15, verge=0.5, parking=0.02, parked=(0.0, 0.1),
        kerbless=0.8, junctions=(90.0, 260.0), slope=(-0.2, 0.25), ditch=0.35, rail=0.35,
        people=0.3,
    ),
    "square": Place(
        {"square": 0.33, "carpark": 0.25, "row": 0.19, "hall": 0.1, "park": 0.08, "lawn": 0.05},
        lane=(2.9, 3.7), lanes=0.2, walk=1.0, walk_width=(2.2, 6.0), verge=0.2, parking=0.25,
        kerbless=0.35, junctions=(40.0, 80.0), slope=(-0.01, 0.02), people=4.0,
    ),
    "green": Place(
        {"wood": 0.35, "park": 0.2, "lawn": 0.2, "villa": 0.1, "garden": 0.12, "field": 0.03},
        walk=0.6, walk_width=(1.6, 4.0), verge=0.55, parking=0.08, parked=(0.0, 0.3),
        kerbless=0.2, junctions=(60.0, 150.0), slope=(-0.14, 0.2),
    ),
    # narrow streets between house fronts: a wall two metres beside the vehicle is no lorry
    "lane": Place(
        {"row": 0.72, "garden": 0.09, "villa": 0.06, "square": 0.05, "lawn": 0.04, "hall": 0.04},
        lane=(1.9, 2.8), walk=0.85, walk_width=(0.8, 2.6), verge=0.05, parking=0.2,
        parked=(0.0, 0.5), kerbless=0.3, junctions=(30.0, 80.0), slope=(-0.03, 0.05), people=2.0,
    ),
}  # fmt: skip
PLACE_SHARES = {
    "suburb": 0.25, "town": 0.18, "village": 0.12, "country": 0.12, "square": 0.09, "green": 0.10,
    "lane": 0.14,
}  # fmt: skip
