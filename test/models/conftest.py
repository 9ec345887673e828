"""Networks of tests are small: torch's own threads would only wait for one another, for minutes
on a busy machine.
"""

import pytest
import torch


@pytest.fixture(autouse=True)
def one_torch_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
