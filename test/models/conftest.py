"""Networks of tests are small: torch's own threads would only wait for one another, for minutes
on a busy machine.
"""

import pytest


@pytest.fixture(autouse=True)
def in_one_thread(one_torch_thread):
    pass
