"""`Plan.apply`: each tensor once, the same bits whatever stands around it, or nothing at all."""

import copy

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.utils import parametrizations, prune

import fanin
from fanin import FaninError, Layout
from fanin._plan import plan_from_sites
from fanin._site import Site
from fanin.initializers import (
    ICNR,
    Constant,
    Custom,
    Normal,
    Orthogonal,
    ScaledOutputs,
    Sparse,
    Uniform,
    Zeros,
    kaiming_normal,
    kaiming_uniform,
)
from fanin.recipes import Choice, Keep, Recipe


def sites_of(model):
    """Sites as the trace would make them, for layers of torch."""
    from fanin._trace._names import tensors_of

    for one in tensors_of(model):
        layout = None if one.is_buffer else fanin.layout(one.owner, one.local)
        roles = {"norm_scale": "norm_scale", "norm_shift": "norm_shift", "bias": "bias"}
        role = "buffer" if layout is None else roles.get(layout.role, "weight")
        yield Site(name=one.name, layout=layout, role=role, tied=tuple(one.tied), stored=one.stored)


def start(site):
    return Normal(0.1) if site.role == "bias" else kaiming_normal()


def planned(model, recipe=start):
    return plan_from_sites(list(sites_of(model)), recipe)


def snapshot(model):
    return {name: value.clone() for name, value in model.state_dict(keep_vars=False).items()}


def same(first, second):
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


def net(**options):
    return nn.Sequential(
        nn.Linear(8, 16, **options),
        nn.LayerNorm(16, **options),
        nn.Linear(16, 4, bias=False, **options),
        nn.BatchNorm1d(4, **options),
    )


def test_every_filled_tensor_is_its_own_draw():
    """The stream is named by the parameter: what `fill_` draws by hand is what is applied."""
    model = net()
    plan = planned(model)
    plan.apply(model, seed=3)
    for name, parameter in model.named_parameters():
        entry = plan[name]
        if entry.state == "filled":
            expected = torch.empty_like(parameter)
            entry.initializer.fill_(expected, layout=entry.site.layout, seed=3, name=name)
            assert torch.equal(parameter, expected)


def test_applying_twice_with_one_seed_changes_nothing():
    """Init is called twice in practice."""
    model = net()
    plan = planned(model)
    first = plan.apply(model, seed=1)
    before = snapshot(model)
    assert plan.apply(model, seed=1) == first
    assert same(snapshot(model), before)
    assert plan.apply(model, seed=2) != first


@pytest.mark.parametrize(
    "other",
    [
        lambda layers: dict(reversed(layers.items())),
        lambda layers: {key: layers[key] for key in ("a", "c")},
        lambda layers: {"first": nn.Linear(3, 3), **layers, "last": nn.Conv1d(2, 2, 2)},
    ],
    ids=["reordered", "removed", "inserted"],
)
def test_what_stands_around_a_parameter_does_not_change_its_bits(other):
    """A researcher ablates one block with a fixed seed, and the others start as before."""

    def layers():
        return {"a": nn.Linear(8, 8), "b": nn.Embedding(5, 8), "c": nn.Linear(8, 2)}

    first, second = nn.ModuleDict(layers()), nn.ModuleDict(other(layers()))
    planned(first).apply(first, seed=5)
    planned(second).apply(second, seed=5)
    shared = first.state_dict().keys() & second.state_dict().keys()
    assert len(shared) >= 3
    assert all(torch.equal(first.state_dict()[n], second.state_dict()[n]) for n in shared)


def compiled(model):
    return torch.compile(model, backend="eager")


@pytest.mark.parametrize("wrap", [nn.DataParallel, compiled])
def test_a_wrapper_does_not_change_the_names(wrap):
    """The prefix of a wrapper is no part of a parameter's name, nor of its stream."""
    bare, inner = net(), net()
    plan = planned(bare)
    plan.apply(bare, seed=0)
    plan.apply(wrap(inner), seed=0)
    assert same(snapshot(bare), snapshot(inner))


def test_identical_clones_become_different():
    """nn.TransformerEncoder copies one layer, weights and all."""
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    model = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
    plan = planned(model)
    plan.apply(model, seed=0)
    weights = [one.linear1.weight for one in model.layers]
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])


def test_gradients_flags_and_generators_stay():
    """Only the numbers change."""
    model = net()
    model[0].weight.requires_grad_(False)
    model(torch.randn(6, 8)).sum().backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    tensors = dict(model.named_parameters())
    torch.manual_seed(7)
    state = torch.get_rng_state()
    planned(model).apply(model, seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    for name, parameter in model.named_parameters():
        assert parameter is tensors[name]
        assert parameter.grad is gradients[name]
        assert parameter.requires_grad is (name != "0.weight")


def test_without_a_seed_one_number_is_taken_from_torch():
    """So ``torch.manual_seed`` rules, and the receipt says what it was."""
    model, again = net(), net()
    torch.manual_seed(9)
    receipt = planned(model).apply(model)
    torch.manual_seed(9)
    planned(again).apply(again)
    assert same(snapshot(model), snapshot(again))
    third = net()
    planned(third).apply(third, seed=receipt.seed)
    assert same(snapshot(model), snapshot(third))


def test_memory_stays_resizable():
    """FSDP frees and grows the storages of parameters; numpy's view of one would forbid it."""
    model = net()
    planned(model).apply(model, seed=0)
    assert all(parameter.untyped_storage().resizable() for parameter in model.parameters())


def test_autograd_sees_that_the_tensors_changed():
    """A backward pass over overwritten weights must not go unnoticed."""
    model = net()
    loss = model(torch.randn(6, 8)).sum()
    planned(model).apply(model, seed=0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


# ---- special places


def test_the_padding_row_is_zero():
    """No gradient ever reaches it, so a draw there would stay for ever."""
    table = nn.Embedding(9, 4, padding_idx=2)
    model = nn.ModuleDict({"table": table, "bag": nn.EmbeddingBag(5, 4)})
    planned(model).apply(model, seed=0)
    assert not model["table"].weight[2].any()
    assert model["table"].weight.any(dim=1).sum() == 8
    assert model["bag"].weight.any(dim=1).all()


def tied():
    model = nn.ModuleDict({"wte": nn.Embedding(9, 4), "head": nn.Linear(4, 9, bias=False)})
    model["head"].weight = model["wte"].weight
    return model


def test_a_tied_tensor_is_written_once_under_its_first_name():
    """The last writer does not win: there is one."""
    model = tied()
    plan = planned(model)
    assert len(plan) == 1
    receipt = plan.apply(model, seed=0)
    assert [stamp.name for stamp in receipt.tensors] == ["wte.weight"]
    assert model["head"].weight is model["wte"].weight


def test_other_ties_than_planned_are_refused():
    """A tie that FSDP broke, or one made since: the plan would not mean the same."""
    both, apart = tied(), nn.ModuleDict({"wte": nn.Embedding(9, 4), "head": nn.Linear(4, 9, False)})
    with pytest.raises(FaninError, match="one tensor in the plan, and two in the model"):
        planned(both).apply(apart, seed=0)
    with pytest.raises(FaninError, match="one tensor in the model, and two in the plan"):
        planned(apart).apply(both, seed=0)


def test_parameters_that_share_memory_without_being_tied_are_refused():
    """One would overwrite the other, and each has a start of its own."""
    model = nn.ModuleList([nn.Linear(4, 4, bias=False), nn.Linear(4, 2, bias=False)])
    plan = planned(model)
    model[1].weight = nn.Parameter(model[0].weight.data[1:3])
    before = snapshot(model)
    with pytest.raises(FaninError, match="share memory"):
        plan.apply(model, seed=0)
    assert same(snapshot(model), before)


@pytest.mark.parametrize("kind", ["new", "old"])
def test_a_weight_under_weight_norm_gets_the_planned_weight(kind):
    """torch.nn.init would write into a result that is computed anew at the next run."""
    layer = nn.Linear(8, 6)
    if kind == "new":
        layer = parametrizations.weight_norm(layer)
    else:
        with pytest.warns(FutureWarning, match="weight_norm"):
            layer = nn.utils.weight_norm(layer)
    model = nn.ModuleDict({"fc": layer})
    plan = planned(model)
    receipt = plan.apply(model, seed=0)
    expected = torch.empty(6, 8)
    kaiming_normal().fill_(expected, seed=0, name="fc.weight")
    assert receipt["fc.weight"].state == "filled"
    torch.testing.assert_close(layer.weight, expected, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(layer(torch.eye(8)), (expected + 0).T + layer.bias)


def test_fill_knows_the_older_weight_norm_too():
    """By the name of the weight, not of what is kept for it; and the layer shows it at once."""
    with pytest.warns(FutureWarning, match="weight_norm"):
        layer = nn.utils.weight_norm(nn.Linear(8, 6))
    fanin.fill(layer, weight_initializer=Orthogonal(), seed=0)
    torch.testing.assert_close(layer.weight @ layer.weight.T, torch.eye(6))
    assert layer.weight.requires_grad
    with pytest.raises(FaninError, match="no such parameter"):
        fanin.fill(layer, weight_g_initializer=1)


def test_what_spectral_norm_keeps_is_the_planned_weight():
    """Old or new, it divides what it keeps by an estimate, which is renewed for the new weight."""
    new = parametrizations.spectral_norm(nn.Linear(8, 6))
    old = nn.utils.spectral_norm(nn.Linear(8, 6))
    model = nn.ModuleDict({"new": new, "old": old})
    planned(model).apply(model, seed=0)
    for name, kept in (("new", new.parametrizations.weight.original), ("old", old.weight_orig)):
        expected = kaiming_normal().fill_(torch.empty(6, 8), seed=0, name=f"{name}.weight")
        assert torch.equal(kept, expected)
    old.eval()(torch.ones(1, 8))
    for weight in (new.eval().weight, old.weight):
        assert 1 - 1e-3 <= torch.linalg.matrix_norm(weight.detach(), 2) < 1.2


def test_kept_tensors_are_untouched():
    """Norms, buffers and what a rule keeps."""
    model = net()
    model[3].running_mean.normal_()
    before = snapshot(model)
    plan = planned(model).replace({"2.weight": Keep("loaded")})
    receipt = plan.apply(model, seed=0)
    after = snapshot(model)
    kept = [stamp.name for stamp in receipt.tensors if stamp.state == "kept"]
    assert {"1.weight", "2.weight", "3.running_mean", "3.num_batches_tracked"} <= set(kept)
    assert all(torch.equal(after[name], before[name]) for name in kept)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_another_dtype_holds_the_same_draws_rounded_once(dtype):
    """A plan made in float32 starts the bfloat16 model."""
    full, other = net(), net(dtype=dtype)
    plan = planned(full)
    plan.apply(full, seed=0)
    plan.apply(other, seed=0)
    assert torch.equal(other[0].weight, full[0].weight.to(dtype))


def test_memory_order_does_not_matter():
    """Nor for the bits, nor for the checksum: it is of the entries in row-major order."""
    straight, other = nn.Conv2d(8, 4, 3), nn.Conv2d(8, 4, 3).to(memory_format=torch.channels_last)
    plan = planned(straight)
    assert plan.apply(straight, seed=0) == plan.apply(other, seed=0)
    assert torch.equal(straight.weight, other.weight)


def test_empty_and_scalar_parameters_are_filled():
    """A layer of no outputs is rare, and no error."""
    model = nn.ParameterDict({"none": torch.empty(0, 4), "one": torch.empty(())})
    sites = [
        Site(name="none", layout=Layout((0, 4), "out in")),
        Site(name="one", layout=Layout((), "")),
    ]
    receipt = plan_from_sites(sites, lambda site: Constant(2)).apply(model, seed=0)
    assert model["one"].item() == 2
    assert receipt["none"].checksum == "00000000"


# ---- a function of the user's


def noisy(tensor, layout):
    tensor.copy_(torch.randn(layout.shape))


def test_a_functions_random_numbers_are_those_of_its_stream():
    """So it is idempotent and free of order too, and torch's generator stays as it was."""
    model = net()
    plan = planned(model).replace({"0.weight": Custom(noisy)})
    torch.manual_seed(1)
    state = torch.get_rng_state()
    plan.apply(model, seed=0)
    before = snapshot(model)
    torch.manual_seed(2)
    plan.apply(model, seed=0)
    assert same(snapshot(model), before)
    torch.manual_seed(1)
    plan.apply(model, seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    plan.apply(model, seed=1)
    assert not torch.equal(model[0].weight, before["0.weight"])


def explode(tensor, layout):
    raise OSError("the disk is gone")


def leaves_some(tensor, layout):
    tensor[0] = 1.0


@pytest.mark.parametrize(
    "value",
    [
        explode,
        leaves_some,
        ScaledOutputs(Custom(explode), (1.0,) * 4),
        ICNR(Custom(explode), 2),
    ],
    ids=["raises", "leaves gaps", "inside another", "repeated"],
)
def test_a_failing_function_leaves_the_model_as_it_was(value):
    """It runs beside the model, before anything is written."""
    model = net()
    plan = planned(model).replace({"2.weight": value})
    before = snapshot(model)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    with pytest.raises((OSError, FaninError)):
        plan.apply(model, seed=0)
    assert same(snapshot(model), before)
    assert torch.equal(torch.get_rng_state(), state)


# ---- refusals, each of which leaves the model as it was


def renamed():
    return nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.Identity(), nn.Linear(16, 4, False))


def wider():
    model = net()
    model[2] = nn.Linear(16, 5, bias=False)
    return model


def inference():
    with torch.inference_mode():
        return net()


def half_zero_rows():
    model = net()
    parametrizations.weight_norm(model[2])
    return model


def shrunk(model, std):
    return model, planned(model).replace({"2.weight": Normal(std)})


class DTensor(torch.Tensor):
    """Known by its name, as torch's own is."""


def sharded():
    model = net()
    model[2].weight = nn.Parameter(torch.zeros(4, 16).as_subclass(DTensor))
    return model


REFUSED = {
    "a shard": lambda: (sharded(), planned(net()), "sharded tensor"),
    "another model": lambda: (renamed(), planned(net()), "another model"),
    "another shape": lambda: (wider(), planned(net()), "another shape"),
    "no model": lambda: (3, planned(net()), "not a model"),
    "lazy": lambda: (nn.Sequential(nn.LazyLinear(4)), LAZY, "lazy"),
    "unclaimed": lambda: (net(), planned(net(), Recipe("no", lambda s: None, "")), "nobody says"),
    "not calibrated": lambda: (
        net(),
        planned(net(), lambda site: Choice(Normal(1), "so", target_std=1.0)),
        "has not been measured",
    ),
    "inference mode": lambda: (inference(), planned(net()), "inference mode is read-only"),
    "beyond float16": lambda: (*shrunk(net(dtype=torch.float16), 1e5), "do not fit the dtype"),
    "below float16": lambda: (*shrunk(net(dtype=torch.float16), 1e-9), "would become zero"),
    "zero rows under weight norm": lambda: (
        half_zero_rows(),
        planned(half_zero_rows()).replace({"2.weight": Zeros}),
        "not finite",
    ),
    "an integer buffer": lambda: (
        net(),
        planned(net()).replace({"3.num_batches_tracked": 0}),
        "only float and complex",
    ),
}
LAZY = plan_from_sites(
    [Site(name=n, layout=Layout((4, 4), "out in")) for n in ("0.weight", "0.bias")], start
)


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_apply_leaves_the_model_as_it_was(case):
    """Bit for bit, and the error says what, where, and the way out."""
    model, plan, words = REFUSED[case]()
    before = snapshot(model) if isinstance(model, nn.Module) and case != "lazy" else {}
    with pytest.raises(FaninError, match=words) as caught:
        plan.apply(model, seed=0)
    assert len(str(caught.value).splitlines()) == 4
    if before:
        assert same(snapshot(model), before)


def test_unclaimed_parameters_may_be_allowed():
    """And then stay as they are, as the receipt says."""
    model = net()
    plan = planned(model, lambda site: None if site.role == "bias" else kaiming_normal())
    before = snapshot(model)
    receipt = plan.apply(model, seed=0, allow_unclaimed=True)
    assert receipt["0.bias"].state == "unclaimed"
    assert torch.equal(model[0].bias, before["0.bias"])


def test_buffers_may_come_and_go():
    """Models make caches when they run; a kept buffer that is gone is no other model."""
    model = net()
    plan = planned(model)
    model.register_buffer("cache", torch.ones(3))
    del model[3]._buffers["running_mean"]
    plan.apply(model, seed=0)
    with pytest.raises(FaninError, match="another model"):
        planned(net()).replace({"3.running_mean": 0}).apply(model, seed=0)


# ---- without numbers


def test_on_meta_nothing_is_drawn_and_the_receipt_says_so():
    """And torch's generator is not asked for a seed."""
    model = net(device="meta")
    state = torch.get_rng_state()
    receipt = planned(model).apply(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert receipt.seed is None
    assert receipt["0.weight"].state == "not drawn"
    assert receipt["0.weight"].checksum is None
    assert "no memory to draw into" in str(receipt)


def test_fake_tensors_are_left_alone():
    """Tools that only look at shapes build models under a fake mode."""
    with FakeTensorMode():
        model = net()
    assert planned(model).apply(model).seed is None


def test_a_plan_made_on_meta_fills_the_real_model():
    """A large model is planned without memory."""
    sites = list(sites_of(net(device="meta")))
    real, other = net(), net()
    plan_from_sites(sites, start).apply(real, seed=0)
    planned(other).apply(other, seed=0)
    assert same(snapshot(real), snapshot(other))


def test_a_plan_applies_to_a_copy_of_its_model():
    """It holds no tensor: names are enough."""
    model = net()
    plan = planned(model)
    twin = copy.deepcopy(model)
    assert plan.apply(model, seed=0) == plan.apply(twin, seed=0)


EVERY = (
    kaiming_uniform(),
    Uniform(-1, 1),
    Orthogonal(),
    Sparse(3),
    Normal(0.5, mean=2, cut=2),
    ScaledOutputs(Normal(1), tuple(range(1, 17))),
)


@pytest.mark.parametrize("value", EVERY, ids=repr)
@pytest.mark.parametrize("threads", [1, 2])
def test_the_receipt_is_the_same_for_any_number_of_threads(value, threads):
    """Checksums are made in threads, the numbers too."""
    model = net()
    plan = planned(model).replace({"0.weight": value})
    alone = plan.apply(model, seed=0)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        assert plan.apply(model, seed=0) == alone
    finally:
        torch.set_num_threads(before)


def test_equal_receipts_mean_equal_weights():
    """One flipped bit shows."""
    from fanin._plan._draw._measure import checksum

    model = net()
    receipt = planned(model).apply(model, seed=0)
    assert receipt["2.weight"].checksum == checksum([model[2].weight])
    with torch.no_grad():
        model[2].weight[1, 3] = torch.nextafter(model[2].weight[1, 3], torch.tensor(9.0))
    assert receipt["2.weight"].checksum != checksum([model[2].weight])


def test_a_function_that_fails_is_told_with_its_parameter():
    """The traceback alone ends in the function, which fills many."""
    model = net()

    def broken(tensor, layout):
        raise KeyError("scale")

    plan = planned(model)
    name = next(entry.name for entry in plan if entry.name.endswith("weight"))
    plan, before = plan.replace({name: broken}), snapshot(model)
    with pytest.raises(FaninError, match="nothing is written") as caught:
        plan.apply(model, seed=0)
    assert caught.value.where.startswith(f"{name}, by Custom(")
    assert caught.value.found == "KeyError: 'scale'"
    assert same(snapshot(model), before)


def test_a_pruned_layer_has_the_mask_on_its_new_weight_at_once():
    """Its forward would compute it; who looks before that must not see the old one."""
    model = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 4))
    prune.random_unstructured(model[0], "weight", amount=0.5)
    mask = model[0].weight_mask.clone()
    inputs = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))
    plan = fanin.plan(model, inputs, recipe=fanin.recipes.lsuv).calibrate(model, inputs)
    plan.apply(model, seed=0)
    assert torch.equal(model[0].weight, model[0].weight_orig * mask)
    assert torch.equal(model[0].weight_mask, mask)
    assert model[0](inputs).std(correction=0).item() == pytest.approx(1, abs=1e-5)
    model(inputs).sum().backward()
    assert model[0].weight_orig.grad is not None
