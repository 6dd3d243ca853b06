"""Small nets of our own: shapes of code that no package of the zoo has."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own name
from torch.nn.utils import parametrizations

__all__ = [
    "Conditioned",
    "Couplings",
    "EinsumExperts",
    "EinsumMixer",
    "EulerSteps",
    "Functional",
    "Highway",
    "HyperNetwork",
    "Parametrized",
    "ReZero",
    "Reversible",
    "Siamese",
    "Siren",
    "SqueezeExcite",
    "TiedAutoencoder",
    "Translator",
    "UNet",
]


def _parameter(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape) / shape[-1] ** 0.5)


class Siren(nn.Module):
    """sin(30 (W x + b)) with bare parameters."""

    def __init__(self) -> None:
        super().__init__()
        sizes = ((2, 16), (16, 16), (16, 3))
        self.weights = nn.ParameterList([_parameter(out, into) for into, out in sizes])
        self.biases = nn.ParameterList([nn.Parameter(torch.zeros(out)) for _, out in sizes])

    def forward(self, x: Tensor) -> Tensor:
        *hidden, last = zip(self.weights, self.biases, strict=True)
        for weight, bias in hidden:
            x = torch.sin(30 * (x @ weight.t() + bias))
        weight, bias = last
        return x @ weight.t() + bias


class EinsumMixer(nn.Module):
    """A mixer block whose four weights are (in, out) and contracted by einsum."""

    def __init__(self) -> None:
        super().__init__()
        self.into = nn.Linear(6, 8)
        self.norms = nn.ModuleList([nn.LayerNorm(8), nn.LayerNorm(8)])
        self.tokens_up, self.tokens_down = _parameter(5, 10), _parameter(10, 5)
        self.channels_up, self.channels_down = _parameter(8, 16), _parameter(16, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.into(x)
        hidden = F.gelu(torch.einsum("btc,ts->bsc", self.norms[0](x), self.tokens_up))
        x = x + torch.einsum("bsc,st->btc", hidden, self.tokens_down)
        hidden = F.gelu(torch.einsum("btc,cd->btd", self.norms[1](x), self.channels_up))
        x = x + torch.einsum("btd,dc->btc", hidden, self.channels_down)
        return self.head(x.mean(1))


class _Experts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.router = nn.Linear(8, 3, bias=False)
        self.up, self.down = _parameter(3, 8, 16), _parameter(3, 16, 8)

    def forward(self, x: Tensor) -> Tensor:
        routes = self.router(x).softmax(-1)
        hidden = F.gelu(torch.einsum("ni,eih->neh", x, self.up))
        return torch.einsum("neh,eho,ne->no", hidden, self.down, routes)


class EinsumExperts(nn.Module):
    """Every expert runs on every row; outputs are weighted inside the last einsum."""

    def __init__(self) -> None:
        super().__init__()
        self.into = nn.Linear(6, 8)
        self.norms = nn.ModuleList([nn.LayerNorm(8), nn.LayerNorm(8)])
        self.blocks = nn.ModuleList([_Experts(), _Experts()])
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.into(x)
        for norm, block in zip(self.norms, self.blocks, strict=True):
            x = x + block(norm(x))
        return self.head(x)


class Functional(nn.Module):
    """One stream, four ways to write into it; two of them add inside the matrix product."""

    def __init__(self) -> None:
        super().__init__()
        self.into = _parameter(6, 8)
        self.up, self.down = _parameter(16, 8), _parameter(8, 16)
        self.first, self.second = _parameter(8, 12), _parameter(12, 8)
        self.batched, self.added = _parameter(8, 8), _parameter(8, 8)
        self.out = _parameter(3, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = x @ self.into
        x = x + F.linear(F.relu(F.linear(F.layer_norm(x, (8,)), self.up)), self.down)
        x = x + torch.einsum("ni,io->no", torch.tanh(x @ self.first), self.second)
        rows = x.unsqueeze(0)
        x = torch.baddbmm(rows, rows.relu(), self.batched.unsqueeze(0)).squeeze(0)
        x = torch.addmm(x, F.silu(x), self.added)
        return torch.matmul(x, self.out.t())


class TiedAutoencoder(nn.Module):
    """The decoder is the encoder's transpose."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = _parameter(8, 12)
        self.hidden_bias = nn.Parameter(torch.zeros(8))
        self.visible_bias = nn.Parameter(torch.zeros(12))

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(F.linear(x, self.weight, self.hidden_bias))
        return F.linear(hidden, self.weight.t(), self.visible_bias)


class Siamese(nn.Module):
    """One encoder runs twice; the head reads |f(a) - f(b)|."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 8))
        self.head = nn.Linear(8, 1)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return self.head((self.encoder(first) - self.encoder(second)).abs())


class UNet(nn.Module):
    """Two levels, joined by concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU())
        self.bottom = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(4, 8, 3, padding=1), nn.ReLU())
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.join = nn.Sequential(nn.Conv2d(8, 4, 3, padding=1), nn.ReLU())
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        level = self.down(x)
        return self.head(self.join(torch.cat([level, self.up(self.bottom(level))], dim=1)))


class Highway(nn.Module):
    """t h + (1 - t) x with h = relu(W x)."""

    def __init__(self) -> None:
        super().__init__()
        self.into = nn.Linear(6, 8)
        self.transforms = nn.ModuleList([nn.Linear(8, 8) for _ in range(2)])
        self.gates = nn.ModuleList([nn.Linear(8, 8) for _ in range(2)])
        for gate in self.gates:
            nn.init.constant_(gate.bias, -2.0)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.into(x)
        for transform, gate in zip(self.transforms, self.gates, strict=True):
            share = gate(x).sigmoid()
            x = share * transform(x).relu() + (1 - share) * x
        return self.head(x)


class SqueezeExcite(nn.Module):
    """x + s conv(relu(conv(x))), s from the branch's own means."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.first, self.second = (nn.Conv2d(8, 8, 3, padding=1) for _ in range(2))
        self.squeeze, self.excite = nn.Linear(8, 4), nn.Linear(4, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        branch = self.second(self.first(x).relu())
        factor = self.excite(self.squeeze(branch.mean((2, 3))).relu()).sigmoid()
        x = (x + branch * factor[:, :, None, None]).relu()
        return self.head(x.mean((2, 3)))


class ReZero(nn.Module):
    """x + a f(x), a a learned number that starts at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.into = nn.Linear(6, 8)
        self.blocks = nn.ModuleList(
            [nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8)) for _ in range(3)]
        )
        self.alphas = nn.ParameterList([nn.Parameter(torch.zeros(())) for _ in range(3)])
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.into(x)
        for block, alpha in zip(self.blocks, self.alphas, strict=True):
            x = x + alpha * block(x)
        return self.head(x)


class EulerSteps(nn.Module):
    """Four steps x + f(x) / 4 with one f."""

    def __init__(self) -> None:
        super().__init__()
        self.into = nn.Linear(6, 8)
        self.field = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 8))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.into(x)
        for _ in range(4):
            x = x + self.field(x) / 4
        return self.head(x)


class Couplings(nn.Module):
    """A flow: x2 <- x2 exp(s(x1)) + t(x1), or without s; then the halves change places."""

    def __init__(self, *, scaled: bool) -> None:
        super().__init__()
        self.shifts = nn.ModuleList([self._net() for _ in range(3)])
        self.scales = nn.ModuleList([self._net() for _ in range(3)]) if scaled else None

    @staticmethod
    def _net() -> nn.Module:
        return nn.Sequential(nn.Linear(3, 12), nn.ReLU(), nn.Linear(12, 3))

    def forward(self, x: Tensor) -> Tensor:
        for place, shift in enumerate(self.shifts):
            first, second = x.chunk(2, dim=-1)
            if self.scales is not None:
                second = second * self.scales[place](first).tanh().exp()
            x = torch.cat([second + shift(first), first], dim=-1)
        return x


class Reversible(nn.Module):
    """y1 = x1 + f(x2), y2 = x2 + g(y1), both halves from one embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.into = nn.Linear(6, 16)
        self.pairs = nn.ModuleList([nn.ModuleList([self._net(), self._net()]) for _ in range(2)])
        self.head = nn.Linear(16, 3)

    @staticmethod
    def _net() -> nn.Module:
        return nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.into(x).chunk(2, dim=-1)
        for f, g in self.pairs:
            first = first + f(second)
            second = second + g(first)
        return self.head(torch.cat([first, second], dim=-1))


class HyperNetwork(nn.Module):
    """One net's outputs are the weights and biases of another."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 16), nn.ReLU())
        self.first, self.first_bias = nn.Linear(16, 8 * 6), nn.Linear(16, 8)
        self.second, self.second_bias = nn.Linear(16, 3 * 8), nn.Linear(16, 3)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        code = self.body(code)
        x = F.linear(x, self.first(code).view(8, 6), self.first_bias(code)).relu()
        return F.linear(x, self.second(code).view(3, 8), self.second_bias(code))


class Conditioned(nn.Module):
    """FiLM: norm(W x) is scaled and shifted by a condition; x + relu(that) is the block."""

    def __init__(self) -> None:
        super().__init__()
        self.into = nn.Linear(6, 8)
        self.linear = nn.Linear(8, 8)
        self.norm = nn.LayerNorm(8, elementwise_affine=False)
        self.condition = nn.Linear(4, 16)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        x = self.into(x)
        scale, shift = self.condition(condition).chunk(2, dim=-1)
        x = x + ((1 + scale) * self.norm(self.linear(x)) + shift).relu()
        return self.head(x)


class Parametrized(nn.Module):
    """Weight norm, spectral norm and orthogonality, on weights that would be written and read."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = parametrizations.weight_norm(nn.Conv1d(3, 8, 3))
        self.first = parametrizations.spectral_norm(nn.Linear(8, 16))
        self.second = parametrizations.weight_norm(nn.Linear(16, 8))
        self.rotation = parametrizations.orthogonal(nn.Linear(8, 8))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).relu().mean(-1)
        x = x + self.second(self.first(x).relu())
        return self.head(self.rotation(x).tanh())


class Translator(nn.Module):
    """torch's own transformer layers; keys and values of another width at the end."""

    def __init__(self) -> None:
        super().__init__()
        sizes = {"d_model": 16, "nhead": 4, "dim_feedforward": 32, "batch_first": True}
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(**sizes), 2)
        self.decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(**sizes), 1)
        self.look = nn.MultiheadAttention(16, 4, kdim=12, vdim=10, batch_first=True)
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor, y: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        y = self.decoder(y, self.encoder(x))
        return self.head(y + self.look(y, keys, values, need_weights=False)[0])
