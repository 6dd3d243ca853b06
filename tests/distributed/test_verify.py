"""Worlds of one to eight processes: each proves its part, and loads its part of a checkpoint."""

from functools import cache

import pytest
import torch
from tests.distributed.layouts import LAYOUTS, names
from tests.distributed.processes import answers

EIGHT = tuple(name for name in names(8) if LAYOUTS[name].worlds == (8,))
ALL = [(world, name) for world in (3, 4) for name in names(world)]
ALL += [(8, name) for name in EIGHT]
QUICK = ("fsdp, uneven", "tensor parallel")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The records of every process of a world, made once for all its layouts."""

    @cache
    def records(size, *only):
        store = tmp_path_factory.mktemp("store") / "file"
        return answers("tests.distributed.prover", size, store, *only)

    return records


def require_right(records, layout):
    for rank, found in enumerate(records):
        if "refused" in found[layout]:
            pytest.skip(f"torch {torch.__version__} refuses it: {found[layout]['refused']}")
        assert found[layout]["wrong"] == [], f"rank {rank}"


@pytest.mark.parametrize("layout", QUICK)
def test_two_processes_prove_their_parts(world, layout):
    """The right start is equal, another seed and one bit in one process are not."""
    require_right(world(2, *QUICK), layout)


@pytest.mark.slow
@pytest.mark.parametrize(("size", "layout"), ALL, ids=[f"{world}: {name}" for world, name in ALL])
def test_every_process_proves_and_loads_its_part(world, size, layout):
    """However the net is sharded, with no communication; the rest of a checkpoint is drawn."""
    require_right(world(size, *EIGHT) if size == 8 else world(size), layout)
