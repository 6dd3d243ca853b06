"""Worlds far too large for a machine, one rank at a time; nothing can be communicated there."""

from itertools import pairwise
from math import prod

import pytest
import torch
from tests.distributed.processes import answers

from fanin._plan._local._shards import _chunk


def ranks(some, world, hidden, *sizes):
    words = [",".join(map(str, numbers)) for numbers in (some, hidden)]
    found = answers("tests.distributed.many", words[0], world, words[1], *sizes)
    if not all(all(one.values()) for one in found):
        pytest.skip(f"torch {torch.__version__} does not cut so")
    return [[one[str(size)] for one in found] for size in hidden]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("some", "world", "hidden", "sizes"),
    [
        (range(0, 1000, 111), 1000, 3001, (1000,)),
        ((0, 1, 33, 500, 777, 992, 1000, 1023), 1024, 2048, (32, 32)),
    ],
    ids=["1,000 ranks, uneven", "1,024 ranks, 32 x 32"],
)
def test_a_rank_among_a_thousand_draws_its_own_part(some, world, hidden, sizes):
    """Sampled ranks: what each holds is right, and no two hold one element of a sharded axis."""
    found = ranks(some, world, [hidden], *sizes)[0]
    held = {name: [set(one[name]["held"]) for one in found] for name in found[0]}
    for one in found:
        assert all(parameter["right"] for parameter in one.values())
    for sets in held["0.weight"], held["0.bias"]:
        assert len(set.union(*sets)) == sum(map(len, sets)) > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hidden", "sizes"),
    [
        ((9, 17, 57, 1001), (4, 2)),
        ((27,), (4, 3)),
        ((27,), (3, 4)),
        ((38,), (4, 4)),
        ((7,), (3, 2)),
    ],
    ids=str,
)
def test_ranks_with_uneven_cuts_hold_the_whole_together(hidden, sizes):
    """FSDP over tensor parallelism, where torch's record of the cut is not what it stores.

    8k + 1 rows on 4 x 2 give other shapes than recorded; in 27 on 3 x 4 and 38 on 4 x 4 a rank has
    the shape on record, and other rows.
    """
    world = prod(sizes)
    for found in ranks(range(world), world, hidden, *sizes):
        for name in ("0.weight", "0.bias", "2.weight"):
            assert all(one[name]["right"] for one in found)
            assert sorted(i for one in found for i in one[name]["held"]) == list(
                range(found[0][name]["of"])
            )


@pytest.mark.parametrize("chunks", [1, 2, 3, 8, 1000, 1024])
@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 999, 1000, 1025, 3001])
def test_cuts_are_torch_chunks_and_cover_the_axis(size, chunks):
    """Where torch makes fewer chunks than asked, the last ranks hold nothing."""
    cuts = [_chunk(size, chunks, number) for number in range(chunks)]
    assert all(first + length == then for (first, length), (then, _) in pairwise(cuts))
    assert cuts[0][0] == 0
    assert sum(length for _, length in cuts) == size
    wanted = [len(piece) for piece in torch.arange(size).chunk(chunks)]
    assert [length for _, length in cuts if length] == [length for length in wanted if length]
