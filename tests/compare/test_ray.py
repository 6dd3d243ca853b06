"""Trainings as tasks of Ray: the numbers of this process, from another."""

import sys

import pytest
from tests.compare.small import STARTS, compared, dropping

import fanin
from fanin import FaninError
from fanin._compare._ray import ray_executor


def test_without_ray_the_error_says_how_to_get_it(monkeypatch):
    """Or how to do without."""
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(FaninError, match="Ray is not installed") as caught:
        ray_executor()
    assert 'pip install "fanin[ray]"' in caught.value.fix


@pytest.fixture(scope="module")
def executor():
    """Ray on two cores of this machine."""
    pytest.importorskip("ray")
    with ray_executor(
        num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False
    ) as found:
        yield found


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_ray_trains_what_this_process_does(executor):
    """Local functions too, which Ray pickles by value."""

    def make_model():
        return dropping()

    found, here = compared(make_model, executor=executor), compared(make_model)
    assert (found.outcomes, found.trials) == (here.outcomes, here.trials)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_an_error_in_a_task_is_the_same_error_here(executor):
    """Not one of Ray's."""

    def loss(output, targets):
        calls.append(1)
        if len(calls) > 30:
            raise RuntimeError("no more")
        return fanin._compare._data.default_loss(output, targets)

    calls = []
    with pytest.raises(FaninError, match="RuntimeError: no more") as caught:
        compared(dropping, STARTS, loss=loss, executor=executor)
    assert caught.value.where.startswith("start ")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_ray_that_runs_is_used_as_it_is(executor):
    """Arguments would be for another one; and it is not shut down."""
    import ray

    with ray_executor() as second:
        assert second.submit(divmod, 7, 2).result() == (3, 1)
    assert ray.is_initialized()
    with pytest.raises(FaninError, match="running already"):
        ray_executor(num_cpus=1)
