"""The recipes on models that were traced, not described by hand: the same numbers must come out."""

import math

import pytest
import torch
from tests.thresholds import variance_threshold
from torch import nn
from torch.nn import functional

from fanin import recipes, trace
from fanin.recipes import Choice


class Block(nn.Module):
    """x + scale * conv(relu(conv(relu(x))))."""

    def __init__(self, weights: int, *, scaled: bool):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in range(weights))
        self.scale = nn.Parameter(torch.ones(1)) if scaled else None

    def forward(self, x):
        y = x
        for conv in self.convs:
            y = conv(torch.relu(y))
        return x + (y if self.scale is None else self.scale * y)


class ResidualNet(nn.Module):
    def __init__(self, blocks: int = 4, weights: int = 2, *, scaled: bool = False):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.blocks = nn.Sequential(*(Block(weights, scaled=scaled) for _ in range(blocks)))
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


class Transformer(nn.Module):
    """Layers of one head, pre-norm or post-norm, with query, key and value apart."""

    def __init__(self, layers: int, *, post: bool, width: int = 16):
        super().__init__()
        square = ("query", "key", "value", "out")
        self.post, self.embed = post, nn.Embedding(30, width)
        self.layers = nn.ModuleList(
            nn.ModuleDict(
                {name: nn.Linear(width, width) for name in square}
                | {"up": nn.Linear(width, 4 * width), "down": nn.Linear(4 * width, width)}
                | {"norm1": nn.LayerNorm(width), "norm2": nn.LayerNorm(width)}
            )
            for _ in range(layers)
        )
        self.head = nn.Linear(width, 30)

    def forward(self, tokens):
        x = self.embed(tokens)
        for layer in self.layers:
            x = self.add(x, layer["norm1"], lambda x, layer=layer: self.attend(x, layer))
            x = self.add(x, layer["norm2"], lambda x, layer=layer: self.feed(x, layer))
        return self.head(x)

    def add(self, x, norm, branch):
        return norm(x + branch(x)) if self.post else x + branch(norm(x))

    def attend(self, x, layer):
        heads = [layer[name](x)[:, None] for name in ("query", "key", "value")]
        return layer["out"](functional.scaled_dot_product_attention(*heads)[:, 0])

    def feed(self, x, layer):
        return layer["down"](functional.gelu(layer["up"](x)))


class Sines(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.hidden, self.last = nn.Linear(2, 32), nn.Linear(32, 32), nn.Linear(32, 1)

    def forward(self, x):
        x = torch.sin(30 * self.first(x))
        return self.last(torch.sin(30 * self.hidden(x)))


IMAGES = torch.zeros(2, 3, 8, 8)
TOKENS = torch.zeros(2, 5, dtype=torch.long)


def stds(recipe, model, batch) -> dict[str, float]:
    """The std of every weight that the recipe draws, by name."""
    sites = trace(model, batch).sites
    fitted = recipe.for_model(sites)
    return {
        site.name: said.initializer.std(site.layout)
        for site in sites
        if isinstance(said := fitted(site), Choice) and site.layout and site.layout.has_fans
    }


@pytest.mark.parametrize("weights", [2, 3])
def test_fixup_of_a_traced_net(weights):
    """Every branch has its factor, the first one too, and the stem has none."""
    found = stds(recipes.fixup, ResidualNet(4, weights), IMAGES)
    inside = math.sqrt(2 / 72) * 4 ** (-1 / (2 * weights - 2))
    for block in range(4):
        for number in range(weights - 1):
            assert found[f"blocks.{block}.convs.{number}.weight"] == pytest.approx(inside)
        assert found[f"blocks.{block}.convs.{weights - 1}.weight"] == 0
    assert found["stem.weight"] == pytest.approx(1 / math.sqrt(27))
    assert found["head.weight"] == 0


def test_skip_init_of_a_traced_net_closes_every_branch_by_its_scalar():
    """The writers stay as Kaiming's: two zeros in a row would never learn."""
    model = ResidualNet(3, scaled=True)
    sites = trace(model, IMAGES).sites
    fitted = recipes.skip_init.for_model(sites)
    scalars = [fitted(site) for site in sites if site.role == "branch_scale"]
    assert [said.initializer.value for said in scalars] == [0.0] * 3
    assert stds(recipes.skip_init, model, IMAGES)["blocks.1.convs.1.weight"] > 0.1


def test_deepnorm_of_a_traced_transformer():
    """beta for value, output and both of the feed-forward; none for query, key and readout."""
    found = stds(recipes.deepnorm, Transformer(3, post=True), TOKENS)
    beta = 24**-0.25
    for layer in range(3):
        for name in ("query", "key"):
            assert found[f"layers.{layer}.{name}.weight"] == pytest.approx(1 / 4)
        for name in ("value", "out"):
            assert found[f"layers.{layer}.{name}.weight"] == pytest.approx(beta / 4)
        for name in ("up", "down"):
            assert found[f"layers.{layer}.{name}.weight"] == pytest.approx(beta * math.sqrt(2 / 80))
    assert found["head.weight"] == pytest.approx(math.sqrt(2 / 46))


def test_gpt2_of_a_traced_transformer():
    """0.02 everywhere, and 0.02 / sqrt(2 L) for the two writers of each layer."""
    found = stds(recipes.gpt2, Transformer(3, post=False), TOKENS)
    for name, std in found.items():
        writes = name.split(".")[-2] in ("out", "down")
        assert std == pytest.approx(0.02 / math.sqrt(6) if writes else 0.02), name
    assert len(found) == 20


def test_small_init_and_gpt_neox_read_the_width_and_the_layers():
    """d = 16 and L = 3 are nowhere but in the traced model."""
    model = Transformer(3, post=False)
    small = stds(recipes.small_init, model, TOKENS)
    assert list(small.values()) == pytest.approx([math.sqrt(2 / 80)] * 20)
    neox = stds(recipes.gpt_neox, model, TOKENS)
    assert neox["layers.2.out.weight"] == pytest.approx(2 / (3 * 4))
    assert neox["layers.2.up.weight"] == pytest.approx(math.sqrt(2 / 80))


def test_depth_scaled_of_a_traced_transformer():
    """Layer by layer, both writers of a layer alike."""
    found = stds(recipes.depth_scaled, Transformer(3, post=False), TOKENS)
    for layer in range(3):
        for name in ("out", "down"):
            expected = 0.02 / math.sqrt(2 * (layer + 1))
            assert found[f"layers.{layer}.{name}.weight"] == pytest.approx(expected)


def test_siren_of_a_traced_net_of_sines():
    """The frequency is read from the run; the authors' code has these very bounds."""
    model = Sines()
    sites = trace(model, torch.zeros(4, 2)).sites
    fitted = recipes.siren.for_model(sites)
    bounds = {site.name: fitted(site).initializer.bound(site.layout) for site in sites}
    assert bounds == {
        "first.weight": pytest.approx(1 / 2),
        "first.bias": pytest.approx(1 / math.sqrt(2)),
        "hidden.weight": pytest.approx(math.sqrt(6 / 32) / 30),
        "hidden.bias": pytest.approx(1 / math.sqrt(32)),
        "last.weight": pytest.approx(math.sqrt(6 / 32) / 30),
        "last.bias": pytest.approx(1 / math.sqrt(32)),
    }


def test_torch_default_decides_every_parameter_of_a_model_of_torchs_layers():
    """With the stds that the layers, built by torch, show."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)
    model = nn.Sequential(nn.Linear(32, 64), layer, nn.Linear(64, 512))
    sites = trace(model, torch.randn(2, 5, 32)).sites
    fitted = recipes.torch_default.for_model(sites)
    for site in sites:
        said = fitted(site)
        assert isinstance(said, Choice), site.name
        built = model.get_parameter(site.name).detach()
        if said.initializer.std(site.layout) == 0:
            assert torch.equal(built, torch.full_like(built, float(built.flatten()[0])))
        else:
            square = said.initializer.std(site.layout) ** 2
            allowed = variance_threshold(built.numel(), 9 / 5)
            assert float(built.square().mean()) == pytest.approx(square, rel=allowed)
