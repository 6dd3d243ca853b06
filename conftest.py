"""One thread a test process, as those of pytest-xdist share the cores; and Ctrl-C as in a shell."""

import signal

import hypothesis
import pytest
import torch

hypothesis.settings.register_profile("fanin", deadline=None, derandomize=True)
hypothesis.settings.load_profile("fanin")


# A process that is started in the background by a script is deaf to Ctrl-C, which tests send.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Tests of thread counts set their own."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
