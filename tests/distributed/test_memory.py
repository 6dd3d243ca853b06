"""The memory of a rank follows its shard."""

from pathlib import Path

import pytest
from tests.distributed.processes import answers

SIZE, MORE = 768, 16
WHOLE = 4 * SIZE**2
"""Bytes of one matrix."""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="it reads Linux's own counts")
def test_orthogonal_matrices_are_drawn_whole_one_at_a_time():
    """With 16 more of them the peak grows by the quarters that are kept, and not by the wholes."""
    few, many = (answers("tests.distributed.memory", 1 + more, SIZE) for more in (0, MORE))
    assert few > WHOLE / 2
    assert MORE * WHOLE / 8 < many - few < MORE * WHOLE / 2
