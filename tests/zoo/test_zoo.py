"""What fanin says of third-party models is what their source code says, read by hand."""

import importlib.util
import warnings

import pytest
import torch
from tests.zoo.compare import differences, run, without_data
from tests.zoo.packages import load
from tests.zoo.page import PAGE, page
from tests.zoo.picture import give_gradients_and_flags, picture
from tests.zoo.record import matching
from tests.zoo.registry import ARCHITECTURES

import fanin

# What other people's packages warn of is theirs.
pytestmark = pytest.mark.filterwarnings("ignore")


_EVERY = [
    pytest.param(one, id=name, marks=[pytest.mark.slow] if one.slow else [])
    for name, one in ARCHITECTURES.items()
]


def require(package):
    """Skip, visibly, where the package is not installed; fail where it is and cannot be used."""
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    load(package)


@pytest.fixture(params=_EVERY)
def architecture(request):
    require(request.param.package)
    return request.param


@pytest.fixture(scope="module", params=_EVERY)
def seen(request):
    """The architecture, a model of it, and the trace of that model: to be read only."""
    require(request.param.package)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = request.param.build()
        return request.param, model, fanin.trace(model, request.param.batch(), training=False)


def tensors_in(found):
    """The tensors of a model's output, however it is wrapped."""
    if torch.is_tensor(found):
        yield found
    elif isinstance(found, dict):
        yield from tensors_in(list(found.values()))
    elif isinstance(found, (list, tuple)):
        for entry in found:
            yield from tensors_in(entry)


def test_the_zoo_has_at_least_forty_third_party_architectures():
    """The promise of the page; names are counted once."""
    assert sum(one.package != "torch" for one in ARCHITECTURES.values()) >= 40


def test_every_pattern_of_the_table_describes_something(seen):
    """A typing error in the table, or a renamed parameter, would make a check empty."""
    architecture, _, trace = seen
    names = {site.name for site in trace}
    facts = ("writers", "shortcuts", "gates", "gate_values", "gated", "readouts", "embeddings")
    tables = [getattr(architecture, fact) for fact in (*facts, "never_ran")]
    tables += [architecture.special, architecture.padding_rows, architecture.undecided]
    assert not [one for table in tables for one in table if not matching([one], names)]


def test_every_parameter_and_buffer_is_accounted_for_once(seen):
    """A parametrized weight is one site that names the tensors kept in its place."""
    _, model, trace = seen
    stored = [name for site in trace for name in (site.stored or (site.name,))]
    names = [name for name, _ in (*model.named_parameters(), *model.named_buffers())]
    assert sorted(stored) == sorted(names)


def test_roles_are_those_of_the_source_code(seen):
    """Writers, shortcuts, gates, readouts, embeddings, ties and what never ran: exactly."""
    architecture, _, trace = seen
    assert differences(architecture, trace) == {}


def test_a_traced_model_is_as_before_bit_for_bit(architecture):
    """Flags by module, values, gradients, hooks, attributes and generators."""
    model, batch = architecture.build(), architecture.batch()
    give_gradients_and_flags(model)
    before = picture(model)
    fanin.trace(model, batch)
    assert picture(model) == before


class Stop(Exception):  # noqa: N818 - no error of the model
    """What the model fails with."""


def test_a_model_whose_trace_was_interrupted_is_as_before_bit_for_bit(architecture):
    """The last module that runs fails, when everything else has been seen."""
    model, batch = architecture.build(), architecture.batch()
    called = []
    watching = [
        module.register_forward_pre_hook(lambda found, _: called.append(found))
        for module in model.modules()
    ]
    run(model, batch)
    for handle in watching:
        handle.remove()
    last, left = called[-1], [called.count(called[-1])]

    def fail(*_):
        left[0] -= 1
        if left[0] == 0:
            raise Stop

    last.register_forward_pre_hook(fail)
    give_gradients_and_flags(model)
    before = picture(model)
    with pytest.raises((Stop, fanin.FaninError)):
        fanin.trace(model, batch, training=False)
    assert picture(model) == before


def test_the_default_start_keeps_declared_starts_and_runs_finite(architecture):
    """LayerScale, A_log, zeroed gammas, LoRA B, padding rows and every buffer, bit for bit."""
    model, batch = architecture.build(), architecture.batch()
    sites = fanin.trace(model, batch, training=False)
    values = {site.name: value_of(model, site) for site in sites if not site.stored}
    fanin.initialize(model, batch, recipe=fanin.recipes.steady, seed=0)
    kept = matching(architecture.special, values)
    kept |= {site.name for site in sites if site.role in ("buffer", "norm_scale", "norm_shift")}
    # What a parametrization keeps its weight's factors in is written with the weight.
    kept = {name for name in kept if "parametrizations" not in name}
    changed = [
        site.name
        for site in sites
        if site.name in kept & values.keys()
        and not torch.equal(value_of(model, site), values[site.name])
    ]
    assert not changed
    for name, row in architecture.padding_rows.items():
        assert model.get_parameter(name)[row].abs().max() == 0
    with torch.no_grad():
        output = run(model, batch)
    assert all(one.isfinite().all() for one in tensors_in(output) if one.is_floating_point())


def value_of(model, site):
    """A copy of the tensor's values."""
    held = dict(model.named_parameters()) | dict(model.named_buffers())
    return held[site.name].detach().clone()


def test_a_trace_without_data_says_the_same_or_how_to_go_on(architecture):
    """A model on the meta device: as with data, or an error that names a way out."""
    outcome = without_data(architecture)
    assert outcome.fix if isinstance(outcome, fanin.FaninError) else outcome == {}


@pytest.mark.slow
def test_the_page_of_tested_architectures_says_what_is_so():
    """It is written by ``python -m tests.zoo.page``, never by hand."""
    for package in {one.package for one in ARCHITECTURES.values()}:
        require(package)
    assert PAGE.read_text() == page()
