"""What every test of the audit has alike."""

import pytest
import torch


@pytest.fixture(autouse=True)
def seeded():
    """torch's generator starts at 0, and is afterwards as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
