"""One seed, one set of weights: in worlds of one to eight processes, however the net is sharded."""

from functools import cache

import pytest
import torch
from tests.distributed.layouts import names
from tests.distributed.nets import CONVOLUTION, GATES, LINEAR
from tests.distributed.processes import answers

from fanin import initializers
from fanin.initializers import Initializer, PriorProbability, _paper_names

PAPERS = [getattr(_paper_names, name) for name in _paper_names.__all__]
ALL = [(world, name) for world in (1, 2, 3, 4, 8) for name in names(world)]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The records of every process of a world, made once for all its layouts."""

    @cache
    def records(size):
        store = tmp_path_factory.mktemp("store") / "file"
        return answers("tests.distributed.worker", size, store)

    return records


@pytest.mark.slow
@pytest.mark.parametrize(("size", "layout"), ALL, ids=[f"{world}: {name}" for world, name in ALL])
def test_every_process_holds_the_weights_of_one_process(world, size, layout):
    """Bit for bit (orthogonal to 1e-6 or a step of the dtype), from meta, with no communication.

    Held against torch's own cut of numbered weights, and against what torch gathers.
    """
    for rank, found in enumerate(world(size)):
        if "refused" in found[layout]:
            pytest.skip(f"torch {torch.__version__} refuses it: {found[layout]['refused']}")
        assert found[layout]["wrong"] == [], f"rank {rank}"
        assert "filled" in found[layout]["states"]
        assert set(found[layout]["states"]) <= {"filled", "kept"}


def test_every_exported_initializer_is_among_those_compared():
    """A new one joins the table of `nets`."""
    values = {**LINEAR, **CONVOLUTION, **GATES, "prior": PriorProbability(0.01)}
    kinds = {type(value) for value in values.values()}
    for name in initializers.__all__:
        exported = getattr(initializers, name)
        if isinstance(exported, type) and issubclass(exported, Initializer):
            assert exported is Initializer or exported in kinds, name
        elif isinstance(exported, Initializer):
            assert exported in values.values(), name
        elif exported in PAPERS:
            assert exported() in values.values(), name
    assert all(type(initializers.named(name)) in kinds for name in initializers.names())


@pytest.mark.slow
def test_worlds_are_compared_with_what_torch_gathers(world):
    """The comparison is no empty one: most shards are gathered by torch itself."""
    for found in world(4):
        done = [one for one in found.values() if one.get("sharded")]
        gathered = sum(one["gathered"] for one in done)
        assert gathered > 0.9 * sum(one["sharded"] for one in done) > 200
