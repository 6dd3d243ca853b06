"""docs/how-to/hugging-face.md, run with transformers; and what it says of transformers."""

import copy

import pytest
import torch
from tests.hosts.pages import blocks, needs, run_page, states

needs("transformers", "accelerate")
pytestmark = pytest.mark.filterwarnings("ignore")  # those of other packages


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The names that the page defines, and what it printed."""
    from contextlib import redirect_stdout
    from io import StringIO

    printed = StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed):
        patch.chdir(tmp_path_factory.mktemp("hugging_face"))
        found = run_page("hugging-face.md")
    return {**found, "printed": printed.getvalue()}


def test_transformers_does_not_draw_again_what_fanin_has_filled(page):
    """Its modules are marked since they were made."""
    model = page["model"]
    before = states(model)
    model.init_weights()
    assert all(torch.equal(before[name], now) for name, now in states(model).items())


def test_only_what_the_checkpoint_lacks_is_filled(page):
    """Loaded tensors are marked; the plan keeps them, bit for bit."""
    loaded, saved = page["classifier"].transformer, page["model"].transformer
    assert all(torch.equal(states(saved)[name], now) for name, now in states(loaded).items())
    assert page["new"].coverage().filled == ("score.weight",)


def test_the_page_prints_what_it_says(page):
    """The comment is its output."""
    comment = next(line for line in blocks("hugging-face.md", "python")[1].splitlines()[-1:])
    assert page["printed"] == comment.removeprefix("# ") + "\n"


def test_marks_survive_a_change_of_dtype_and_not_a_deep_copy(page):
    """So the page says to plan the model that was loaded."""
    classifier = page["classifier"]

    def marked(model):
        return getattr(model.transformer.wte.weight, "_is_hf_initialized", False)

    assert marked(copy.copy(classifier).half())
    assert not marked(copy.deepcopy(classifier))


def test_a_model_from_meta_has_the_planned_weights_and_its_own_buffers(page):
    """transformers fills RoPE's frequencies, and draws no parameter again."""
    fresh = page["LlamaForCausalLM"](page["small"])
    buffers = dict(fresh.named_buffers())
    page["llama_plan"].apply(fresh, seed=0)
    for name, parameter in page["llama"].named_parameters():
        assert torch.equal(parameter, fresh.get_parameter(name)), name
    for name, buffer in page["llama"].named_buffers():
        assert torch.equal(buffer, buffers[name]), name


def test_without_the_marks_transformers_draws_again(page):
    """The reason for the loop on the page."""
    with torch.device("meta"):
        llama = page["LlamaForCausalLM"](page["small"])
    llama.to_empty(device="cpu")
    page["llama_plan"].apply(llama, seed=0)
    before = llama.lm_head.weight.clone()
    llama.initialize_weights()
    assert not torch.equal(before, llama.lm_head.weight)


def trained(page, folder, seed):
    """Two steps of a real Trainer; the weights that it started from, and those that it reached."""
    from transformers import Trainer, TrainingArguments

    starts = []

    def model_init(trial=None):
        model = page["model_init"](trial)
        starts.append(states(model))
        return model

    tokens = torch.arange(16).reshape(2, 8)
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=2,
        per_device_train_batch_size=1,
        seed=seed,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
    )
    data = [{"input_ids": row, "labels": row} for row in tokens]
    trainer = Trainer(model_init=model_init, args=arguments, train_dataset=data)
    trainer.train()
    return starts[-1], states(trainer.model)


@pytest.mark.slow
def test_the_trainer_starts_from_the_plan_and_its_seed_decides(page, tmp_path):
    """The same seed gives the same start, another gives another; and it trains."""
    first, reached = trained(page, tmp_path, seed=1)
    again, _ = trained(page, tmp_path, seed=1)
    other, _ = trained(page, tmp_path, seed=2)
    name = "transformer.h.0.attn.c_attn.weight"
    assert torch.equal(first[name], again[name])
    assert not torch.equal(first[name], other[name])
    assert not torch.equal(first[name], reached[name])


def test_init_weights_draws_what_apply_draws(page):
    """Module by module or at once, a value follows from the seed and the name."""
    other = page["Net"](page["NetConfig"]())
    torch.nn.init.zeros_(other.hidden.weight)
    page["net_plan"].apply(other, seed=0)
    assert all(torch.equal(states(page["net"])[name], now) for name, now in states(other).items())


def test_init_weights_fills_a_missing_weight_beside_a_loaded_bias(page, tmp_path):
    """transformers calls it for the whole module; the check of the mark saves the bias."""
    from safetensors.torch import load_file, save_file

    net = page["Net"](page["NetConfig"]())
    with torch.no_grad():
        net.head.bias.fill_(3.0)
        net.head.weight.fill_(4.0)
    net.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    stored = load_file(file)
    del stored["head.weight"]
    save_file(stored, file, metadata={"format": "pt"})
    loaded = page["Net"].from_pretrained(tmp_path)
    assert torch.equal(loaded.head.bias, net.head.bias)
    assert torch.equal(loaded.head.weight, page["net"].head.weight)


def test_a_model_inside_another_is_refused(page, monkeypatch):
    """Its names are its own when it is filled; the outer plan has others."""
    base = page["Net"]

    class WithHead(page["PreTrainedModel"]):
        config_class = page["NetConfig"]

        def __init__(self, config):
            super().__init__(config)
            self.net = base(config)
            self.post_init()

        def forward(self, x):
            return self.net(x)

    with torch.device("meta"):
        outer = page["fanin"].plan(WithHead(page["NetConfig"]()), torch.randn(8, 32, device="cpu"))
    monkeypatch.setitem(base._init_weights.__globals__, "net_plan", outer)
    with pytest.raises(page["fanin"].FaninError, match="no module of the plan has this path"):
        WithHead(page["NetConfig"]())
