"""What tests of labelling share."""

import pytest
from builders.labelled_cloud import make_labelled


@pytest.fixture
def labelled(messages):
    """See `builders/labelled_cloud.py`."""
    return make_labelled(messages)
