"""Models as users have them: wrapped, compiled, scripted, checkpointed, differentiated inside."""

import shutil

import pytest
import torch
from tests.laws.test_trace_laws import Decoder
from tests.oracles.trace_models import Model, parameter, rows, sites, tokens, writers
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.nn import functional
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from fanin import layout, trace

F = functional


def plain():
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))


def same_sites(wrapped, model, batch):
    """The names and all facts are those of the model inside."""
    return trace(wrapped, batch).sites == trace(model, batch).sites


# --- wrappers -------------------------------------------------------------------------------------


def test_data_parallel_drops_its_prefix():
    """``module.`` is the wrapper's and not the model's."""
    model = plain()
    assert same_sites(nn.DataParallel(model), model, rows(3, 6))


def test_a_child_that_is_called_module_keeps_its_name():
    """Only a wrapper's prefix is dropped, not a user's attribute of that name."""
    model = Model(lambda m, x: m.module(x), module=plain())
    assert next(iter(sites(model, rows(3, 6)))) == "module.0.weight"
    model = Model(lambda m, x: m._orig_mod(x), _orig_mod=plain())
    assert next(iter(sites(model, rows(3, 6)))) == "_orig_mod.0.weight"


def test_a_compiled_model_is_traced_as_itself_and_compiles_nothing():
    """Its forward runs eagerly while it is looked at."""

    def backend(_graph, _inputs):
        raise AssertionError("nothing is to be compiled")

    model = plain()
    assert same_sites(torch.compile(model, backend=backend), model, rows(3, 6))


def test_a_compiled_part_is_traced_as_itself():
    """One block of the model is compiled."""

    def backend(_graph, _inputs):
        raise AssertionError("nothing is to be compiled")

    model, inner = Model(lambda m, x: m.block(x), block=plain()), plain()
    inner.load_state_dict(model.block.state_dict())
    expected = trace(model, rows(3, 6)).sites
    model.block = torch.compile(inner, backend=backend)
    assert trace(model, rows(3, 6)).sites == expected


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a compiler")
@pytest.mark.filterwarnings("ignore")
def test_a_model_that_was_compiled_and_run_is_traced_as_itself():
    """After its code was generated."""
    model = plain()
    compiled = torch.compile(model)
    compiled(rows(3, 6))
    assert same_sites(compiled, model, rows(3, 6))
    assert torch.equal(compiled(rows(3, 6)), model(rows(3, 6)))


def test_checkpoint_wrappers_drop_their_prefix():
    """Activation checkpointing wraps blocks."""
    model = plain()
    expected = trace(model, rows(3, 6)).sites
    model[2] = checkpoint_wrapper(model[2])
    assert trace(model, rows(3, 6)).sites == expected


def test_a_sharding_wrapper_drops_its_prefix():
    """Known by its class's name, so that nothing of torch.distributed is imported."""

    class FullyShardedDataParallel(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self._fsdp_wrapped_module = inner

        def forward(self, x):
            return self._fsdp_wrapped_module(x)

    model = plain()
    assert same_sites(FullyShardedDataParallel(model), model, rows(3, 6))


def test_wrappers_in_wrappers_drop_all_prefixes():
    """Compiled, in data parallel, with checkpoints inside."""
    model = plain()
    expected = trace(model, rows(3, 6)).sites
    model[0] = checkpoint_wrapper(model[0])
    wrapped = nn.DataParallel(torch.compile(model, backend="eager"))
    assert trace(wrapped, rows(3, 6)).sites == expected


@pytest.mark.skipif(not torch.distributed.is_available(), reason="needs torch.distributed")
def test_distributed_data_parallel_drops_its_prefix(tmp_path):
    """In a group of one process."""
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        model = plain()
        wrapped = nn.parallel.DistributedDataParallel(model)
        assert same_sites(wrapped, model, rows(3, 6))
    finally:
        torch.distributed.destroy_process_group()


def test_an_averaged_model_is_no_wrapper_to_be_dropped():
    """swa_utils keeps a copy under ``module.`` and a counter: its own names stay."""
    averaged = torch.optim.swa_utils.AveragedModel(plain())
    names = list(sites(averaged, rows(3, 6)))
    assert names[0] == "module.0.weight"
    assert names[-1] == "n_averaged"


# --- what runs inside -----------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad=True")
def test_a_checkpointed_forward_is_traced_once():
    """Recomputation belongs to the backward pass."""
    for reentrant in (False, True):
        model = Model(
            lambda m, x, reentrant=reentrant: m.b(checkpoint(m.a, x, use_reentrant=reentrant)),
            a=nn.Sequential(nn.Linear(6, 8), nn.ReLU()), b=nn.Linear(8, 2),
        )  # fmt: skip
        found = sites(model, rows(3, 6))
        assert (found["a.0.weight"].uses, found["b.weight"].uses) == (1, 1)
        assert found["b.weight"].activation == "relu"


def test_a_checkpointed_sequence_is_traced():
    """In segments."""
    layers = nn.Sequential(*(nn.Linear(6, 6) for _ in range(4)))
    model = Model(lambda m, x: checkpoint_sequential(m.a, 2, x, use_reentrant=False), a=layers)
    assert [site.uses for site in trace(model, rows(3, 6))] == [1] * 8


def test_a_gradient_inside_forward_is_taken():
    """Energy models and physics-informed nets differentiate by their input."""

    def run(m, x):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            energy = m.b(torch.tanh(m.a(x))).sum()
            (force,) = torch.autograd.grad(energy, x)
        return energy, force

    model = Model(run, a=nn.Linear(6, 8), b=nn.Linear(8, 1))
    found = sites(model, rows(3, 6))
    assert found["b.weight"].activation == "tanh"
    assert found["a.weight"].uses >= 1
    assert str(found["a.weight"].layout) == "matrix product [out=8, in=6]"
    assert writers(model, rows(3, 6)) == []
    assert all(p.grad is None for p in model.parameters())


def test_a_gradient_penalty_creates_no_streams():
    """create_graph: the backward pass multiplies with the same weights, transposed."""

    def run(m, x):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            score = m.c(F.softplus(m.b(F.softplus(m.a(x)))))
            (slope,) = torch.autograd.grad(score.sum(), x, create_graph=True)
        return score, slope.square().sum()

    model = Model(run, a=nn.Linear(6, 8), b=nn.Linear(8, 8), c=nn.Linear(8, 1))
    found = sites(model, rows(3, 6))
    assert [found[f"{n}.weight"].layout for n in "abc"] == [
        layout(layer) for layer in (model.a, model.b, model.c)
    ]
    assert writers(model, rows(3, 6)) == []


def test_a_custom_function_is_seen_through():
    """autograd.Function with operations inside."""

    class Product(torch.autograd.Function):
        @staticmethod
        def forward(_ctx, x, w):
            return x @ w

        @staticmethod
        def backward(_ctx, grad):
            return grad, grad

    model = Model(
        lambda m, x: m.b(F.relu(Product.apply(x, m.w))), w=parameter(6, 8), b=nn.Linear(8, 2)
    )
    found = sites(model, rows(3, 6))
    assert str(found["w"].layout) == "matrix product [in=6, out=8]"
    assert found["b.weight"].activation == "relu"
    assert found["b.weight"].sources == ("w",)


def test_an_inner_run_without_gradients_is_seen():
    """A frozen teacher under no_grad or in inference mode."""

    def run(m, x, context):
        with context():
            h = m.teacher(x)
        return m.student(x), h.clone()

    for context in (torch.no_grad, torch.inference_mode):
        model = Model(
            lambda m, x, context=context: run(m, x, context),
            teacher=nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 2)),
            student=nn.Linear(6, 2),
        )  # fmt: skip
        found = sites(model, rows(3, 6))
        assert found["teacher.3.weight"].activation == "relu"
        assert found["teacher.0.weight"].normalized_output
        assert found["teacher.0.weight"].uses == 1


def test_vmap_and_functional_call_inside_are_seen():
    """Ensembles by vmap, and a module called with other tensors."""

    def mapped(m, x):
        return torch.vmap(lambda one: m.b(torch.tanh(m.a(one))))(x)

    def called(m, x):
        return torch.func.functional_call(m.a, dict(m.a.named_parameters()), (x,))

    model = Model(mapped, a=nn.Linear(6, 8), b=nn.Linear(8, 2))
    found = sites(model, rows(3, 6))
    assert (found["a.weight"].uses, found["b.weight"].uses) == (1, 1)
    assert str(found["a.weight"].layout) == "matrix product [out=8, in=6]"
    found = sites(Model(called, a=nn.Linear(6, 8)), rows(3, 6))
    assert (found["a.weight"].uses, found["a.weight"].role) == (1, "readout")


def test_a_derivative_by_torch_func_inside_is_seen():
    """jacrev and grad of a net by its input."""

    def run(m, x):
        def energy(one):
            return m.b(torch.tanh(m.a(one))).sum()

        return torch.vmap(torch.func.grad(energy))(x)

    model = Model(run, a=nn.Linear(6, 8), b=nn.Linear(8, 1))
    found = sites(model, rows(3, 6))
    assert found["a.weight"].uses >= 1
    assert found["b.weight"].uses >= 1


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_a_scripted_part_is_traced():
    """Operations inside a script are dispatched like others."""

    class Part(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 6)

        def forward(self, x):
            return x + self.b(torch.relu(self.a(x)))

    scripted = torch.jit.script(Part())
    model = Model(lambda m, x: m.head(m.part(x)), part=scripted, head=nn.Linear(6, 2))
    found = sites(model, rows(3, 6))
    assert found["part.b.weight"].role == "residual_out"
    assert found["part.b.weight"].activation == "relu"
    assert found["part.a.weight"].uses == 1
    assert found["head.weight"].role == "readout"


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_a_traced_part_is_traced():
    """torch.jit.trace."""
    inner = torch.jit.trace(plain(), rows(3, 6))
    model = Model(lambda m, x: m.head(m.part(x)), part=inner, head=nn.Linear(2, 2))
    found = sites(model, rows(3, 6))
    assert found["part.2.weight"].activation == "relu"


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_a_scripted_function_is_seen_through():
    """Fused activations are often scripted functions."""

    def fused_gelu(x):
        return x * 0.5 * (1.0 + torch.erf(x / 1.41421356237309504))

    scripted = torch.jit.script(fused_gelu)
    model = Model(lambda m, x: m.b(scripted(m.a(x))), a=nn.Linear(6, 8), b=nn.Linear(8, 2))
    assert sites(model, rows(3, 6))["b.weight"].activation == "gelu"


def test_a_user_s_own_hooks_run_and_are_seen():
    """A hook may change what a layer gives."""
    model = plain()
    model[0].register_forward_hook(lambda _m, _a, out: torch.tanh(out))
    model[2].register_forward_pre_hook(lambda _m, args: (args[0] * 2,))
    found = sites(model, rows(3, 6))
    assert found["0.weight"].uses == 1
    first = found["2.weight"].activation
    assert callable(first)
    z = torch.linspace(-2, 2, 9, dtype=torch.float64)
    torch.testing.assert_close(first(z), 2 * torch.relu(torch.tanh(z)))


def test_einops_like_reshapes_change_nothing():
    """Views, permutes and unflattens between the layers."""
    model = Model(
        lambda m, x: m.b(F.relu(m.a(x)).unflatten(-1, (2, 4)).transpose(0, 1).flatten(0, 1)),
        a=nn.Linear(6, 8), b=nn.Linear(4, 2),
    )  # fmt: skip
    found = sites(model, rows(3, 6))
    assert (found["b.weight"].activation, found["b.weight"].sources) == ("relu", ("a.weight",))


def test_a_model_with_arguments_that_are_no_tensors_is_traced():
    """Flags, strings and None in a mapping or tuple."""
    model = Model(
        lambda m, x, scale=1.0, mode=None: m.a(x) * scale if mode else m.a(x), a=nn.Linear(6, 2)
    )
    assert trace(model, (rows(3, 6), 2.0, "mode"))["a.weight"].uses == 1
    assert trace(model, {"x": rows(3, 6), "mode": None})["a.weight"].uses == 1


def test_sparse_and_nested_inputs_are_traced():
    """Graphs give sparse adjacency, ragged batches nested tensors."""
    sparse = torch.eye(4).to_sparse()
    model = Model(
        lambda m, a, x: m.b(torch.relu(torch.sparse.mm(a, m.a(x)))),
        a=nn.Linear(6, 8),
        b=nn.Linear(8, 2),
    )
    found = sites(model, (sparse, rows(4, 6)))
    assert found["a.weight"].uses == 1
    assert found["b.weight"].activation == "relu"
    assert found["b.weight"].sources == ("a.weight",)


def test_random_numbers_drawn_in_forward_are_no_obstacle():
    """Noise, sampling and dropout of one's own."""
    model = Model(
        lambda m, x: m.b(torch.relu(m.a(x)) + 0.1 * torch.randn(3, 8)),
        a=nn.Linear(6, 8),
        b=nn.Linear(8, 2),
    )
    assert sites(model, rows(3, 6))["a.weight"].uses == 1


def test_a_straight_through_sample_is_no_stream():
    """``hard + soft - soft.detach()``, as Gumbel softmax has it."""
    model = Model(
        lambda m, x: m.b(F.gumbel_softmax(m.a(x), hard=True)), a=nn.Linear(6, 8), b=nn.Linear(8, 2)
    )
    assert writers(model, rows(3, 6)) == []


def test_a_generation_loop_is_traced():
    """Tokens are chosen and fed back: every step runs every weight."""
    model = Decoder()

    def run(m, ids):
        for _ in range(3):
            logits = m.net(ids)
            ids = torch.cat([ids[:, 1:], logits[:, -1].argmax(-1, keepdim=True)], 1)
        return ids

    found = sites(Model(run, net=model), tokens(2, 5))
    assert found["net.blocks.0.down.weight"].uses == 3
    assert found["net.blocks.0.down.weight"].role == "residual_out"
    assert found["net.blocks.0.down.weight"].residual.count == 4
