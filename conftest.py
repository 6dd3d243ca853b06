"""One thread a test process: the processes of pytest-xdist share the cores between them."""

import hypothesis
import pytest
import torch

hypothesis.settings.register_profile("fanin", deadline=None, derandomize=True)
hypothesis.settings.load_profile("fanin")


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Tests of thread counts set their own."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
