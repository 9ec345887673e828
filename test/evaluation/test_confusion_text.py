"""The table of what is called what, and the reasons for an IoU of 0."""

from cmdfusion_ros.evaluation.confusion_text import confusion_table, why_zero

NAMES = ("road", "car", "person", "pole", "bus")
#            road car person pole bus, and no answer
CONFUSION = [
    [90, 8, 0, 0, 2, 0],
    [25, 75, 0, 0, 0, 0],
    [10, 50, 0, 30, 0, 10],
    [0, 0, 0, 0, 0, 0],
    [0, 4, 0, 0, 0, 0],
]


def test_the_table_has_percent_of_each_row_and_the_empty_classes_are_told():
    lines = confusion_table(NAMES, CONFUSION)
    assert lines[1].split() == ["0", "1", "2", "3", "4"]
    assert lines[2].split() == ["0", "road", "90", "8", "0", "0", "2"]
    assert lines[4].split() == ["2", "person", "10", "50", "0", "30", "0"]  # a tenth has no answer
    assert lines[5].split() == ["3", "pole", "no", "point"]
    only = [[5, 0, 0], [0, 0, 0]]
    assert len(confusion_table(("road", "car"), only)) == 3  # neither points nor answers
    many = [[1] * 31 for _ in range(30)]
    assert confusion_table([str(number) for number in range(30)], many) == []


def test_each_class_at_zero_has_its_reason():
    assert why_zero(NAMES, CONFUSION) == [
        "person: of its 100 points none is right (50 % car, 30 % pole, 10 % road); nothing is ever "
        "called so",
        "pole: no point of it in these scans, 30 of others are called so",
        "bus: of its 4 points none is right (100 % car)",
    ]
    trained = {"road": 10, "car": 10, "person": 10, "pole": 10, "bus": 0}
    assert why_zero(NAMES, CONFUSION, trained)[-1].endswith("was trained on no point of it")
    assert why_zero(("road",), [[3, 0]]) == []
