"""docs/troubleshooting.md: the product says what each entry quotes when that fault is made, and
nothing of it when all is well.
"""

import importlib.util
import re
import tempfile
from pathlib import Path

import pytest
import yaml
from builders.paths import REPOSITORY
from builders.troubles import PRODUCERS, healthy

from cmdfusion_ros.labelling.settings import node_settings

PAGE = (REPOSITORY / "docs" / "troubleshooting.md").read_text()
ENTRIES = {
    title: body
    for title, body in re.findall(r"^### (.+?)\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
}
NEED_ROS = {"Publisher and node do not agree on quality of service"}


def quotes(title):
    """What an entry quotes: the parts between the dots."""
    (quote,) = re.findall(r"^```text\n(.*?)\n```", ENTRIES[title], re.MULTILINE | re.DOTALL)
    return [" ".join(part.split()) for part in quote.split("...") if part.strip(" ;.")]


def says(text, parts):
    """Whether the parts are there, one after the other."""
    text, place = " ".join(text.split()), 0
    for part in parts:
        place = text.find(part, place)
        if place < 0:
            return False
        place += len(part)
    return True


def test_every_entry_has_its_fault_and_every_fault_its_entry():
    assert list(ENTRIES) == list(PRODUCERS) and len(ENTRIES) >= 30


@pytest.mark.parametrize("title", ENTRIES)
def test_the_product_says_what_an_entry_quotes(title, tmp_path):
    if title in NEED_ROS and importlib.util.find_spec("rclpy") is None:
        pytest.skip("ROS 2 (rclpy) is not installed")
    text = PRODUCERS[title](tmp_path)
    assert says(text, quotes(title)), f"not said: {quotes(title)}, but:\n{text}"


@pytest.fixture(scope="module")
def all_is_well():
    with tempfile.TemporaryDirectory() as folder:
        return healthy(Path(folder))


@pytest.mark.parametrize("title", ENTRIES)
def test_nothing_of_it_is_said_where_all_is_well(title, all_is_well):
    assert "10 FUSED" in all_is_well and not says(all_is_well, quotes(title))


@pytest.mark.parametrize("title", ENTRIES)
def test_an_entry_quotes_explains_and_says_what_to_type(title):
    parts = re.split(r"^```(\w+)\n(.*?)\n```", ENTRIES[title], flags=re.MULTILINE | re.DOTALL)
    kinds = parts[1::3]
    assert kinds[0] == "text" and set(kinds[1:]) & {"bash", "yaml", "python"}
    assert max(map(len, quotes(title))) > 40, "a quote that many things would say"
    assert len(" ".join(parts[3::3]).split()) > 8


@pytest.mark.parametrize("title", ENTRIES)
def test_what_an_entry_tells_to_set_is_a_parameter_of_the_node(title):
    for block in re.findall(r"^```yaml\n(.*?)\n```", ENTRIES[title], re.MULTILINE | re.DOTALL):
        values = yaml.safe_load(block)
        if "qos_overrides" in values:  # rclpy's own
            (policies,) = [each["subscription"] for each in values["qos_overrides"].values()]
            assert set(policies) == {"reliability"}
        else:
            node_settings({"cameras": ["front"], **values})
