"""Attention entropy is -sum p log p over log(allowed positions), also where no share is shown."""

from math import log

import pytest
import torch
from tests.audit.plain import place
from torch import nn
from torch.nn import functional as F  # noqa: N812 - torch's own name
from torch.nn.attention import SDPBackend, sdpa_kernel

from fanin import audit
from fanin._audit._attention import entropy


def formula(shares, allowed=None):
    """The mean over rows with more than one allowed position, row by row."""
    rows = shares.detach().double().flatten(0, -2)
    kept = (rows > 0) if allowed is None else allowed.expand(shares.shape).flatten(0, -2)
    found = []
    for row, some in zip(rows, kept, strict=True):
        count = int(some.sum())
        if count > 1:
            found.append(-sum(p * log(p) for p in row[some].tolist() if p > 0) / log(count))
    return sum(found) / len(found)


def drawn(*shape, seed=0):
    return 2 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class Fused(nn.Module):
    """Attention of three parts of an input, with whatever torch's call is given."""

    def __init__(self, backend=None, queries=None, groups=1, **options):
        super().__init__()
        self.backend, self.queries, self.groups, self.options = backend, queries, groups, options

    def parts(self, x):
        query, key, value = x.unbind(1)
        if self.groups > 1:
            key, value = key[:, :: self.groups], value[:, :: self.groups]
        return query[:, :, : self.queries], key, value

    def forward(self, x):
        options = {**self.options, **({"enable_gqa": True} if self.groups > 1 else {})}
        backends = self.backend or [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]
        with sdpa_kernel(backends):
            return F.scaled_dot_product_attention(*self.parts(x), **options)


def shares_of(model, x):
    """The shares by the formula of torch's documentation, and where they may be."""
    query, key, _ = model.parts(x)
    key = key.repeat_interleave(model.groups, 1)
    scale = model.options.get("scale", query.shape[-1] ** -0.5)
    scores = query.double() @ key.double().transpose(-1, -2) * scale
    allowed = torch.ones(scores.shape[-2:], dtype=torch.bool)
    if model.options.get("is_causal"):
        allowed = allowed.tril()
    mask = model.options.get("attn_mask")
    if mask is not None and mask.dtype == torch.bool:
        allowed = allowed & mask
    elif mask is not None:
        scores, allowed = scores + mask, allowed & (mask > -1e4)
    return torch.softmax(scores.masked_fill(~allowed, -torch.inf), -1), allowed


BAND = torch.ones(12, 12).tril(2).triu(-3).bool()
CASES = {
    "all see all": {},
    "causal": {"is_causal": True},
    "a mask of truth values": {"attn_mask": BAND},
    "a mask of numbers": {"attn_mask": drawn(12, 12, seed=3)},
    "a mask of minus infinity": {"attn_mask": torch.zeros(12, 12).masked_fill(~BAND, -torch.inf)},
    "a mask of the smallest number": {
        "attn_mask": torch.zeros(12, 12).masked_fill(~BAND, torch.finfo(torch.float32).min)
    },
    "a scale": {"scale": 0.7},
    "grouped queries": {"groups": 2},
    "grouped queries, causal": {"groups": 4, "is_causal": True},
    "few queries": {"queries": 5},
}
BACKENDS = {"fused": None, "spelled out": [SDPBackend.MATH]}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", CASES)
def test_entropy_of_attention_is_the_formula_of_its_shares(case, backend):
    """Whether torch fuses the shares away or not."""
    model, x = Fused(BACKENDS[backend], **CASES[case]), drawn(3, 3, 4, 12, 8)
    report = audit(model, x.requires_grad_())
    found = [one for one in report.places if one.entropy is not None]
    assert [one.kind for one in found] == ["attention" if backend == "fused" else "softmax"]
    assert found[0].entropy == pytest.approx(formula(*shares_of(model, x)), rel=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_rows_that_see_nothing_do_not_count(backend):
    """A padded query sees no key; torch gives zeros there."""
    mask = BAND.clone()
    mask[3:5] = False
    model, x = Fused(BACKENDS[backend], attn_mask=mask), drawn(2, 3, 4, 12, 8)
    report = audit(model, x.requires_grad_())
    found = [one.entropy for one in report.places if one.entropy is not None]
    assert found == [pytest.approx(formula(*shares_of(model, x)), rel=1e-5)]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("causal", [False, True])
def test_attention_that_collapsed_to_one_position_has_entropy_zero(backend, causal):
    """Its other shares are zero in single precision, and yet allowed."""
    x = torch.eye(12).expand(2, 3, 4, 12, 12) * 60
    report = audit(Fused(BACKENDS[backend], is_causal=causal), x.clone().requires_grad_())
    found = [one.entropy for one in report.places if one.entropy is not None]
    assert found == [pytest.approx(0, abs=1e-6)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_attention_of_equal_scores_has_entropy_one(backend):
    """Uniform over what is allowed, not over all."""
    x = torch.zeros(2, 3, 4, 12, 8, requires_grad=True)
    report = audit(Fused(BACKENDS[backend], is_causal=True), x)
    found = [one.entropy for one in report.places if one.entropy is not None]
    assert found == [pytest.approx(1, abs=1e-6)]


class Softmax(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.dim = dim

    def forward(self, x):
        return torch.softmax(x, self.dim)


def test_a_softmax_written_out_is_attention():
    """As in models that compute scores themselves."""
    x = drawn(3, 2, 6, 6).requires_grad_()
    found = place(audit(Softmax(-1), x), "_softmax")
    assert found.entropy == pytest.approx(formula(torch.softmax(x, -1)), rel=1e-5)


def test_the_entropy_of_a_softmax_is_along_its_own_axis():
    """Slot attention normalizes over the slots, an axis before the last."""
    x = drawn(3, 4, 6).requires_grad_()
    found = place(audit(Softmax(1), x), "_softmax")
    expected = formula(torch.softmax(x, 1).transpose(1, 2))
    assert found.entropy in (None, pytest.approx(expected, rel=1e-5))


def test_class_probabilities_are_no_attention():
    """A softmax of [batch, classes]."""
    assert place(audit(Softmax(-1), drawn(3, 6).requires_grad_()), "_softmax").entropy is None


@pytest.mark.parametrize("shape", [(16, 8, 128, 96), (2, 3, 300, 17)])
def test_a_large_attention_is_estimated_from_some_of_its_rows(shape):
    """Within the spread of the rows that were looked at: of 512 or more, by the law of means."""
    x = torch.stack([drawn(*shape, seed=seed) for seed in range(3)], 1) / 2
    model = Fused(None)
    report = audit(model, x.requires_grad_())
    found = next(one.entropy for one in report.places if one.entropy is not None)
    assert found == pytest.approx(formula(*shares_of(model, x)), abs=0.02)


def test_multihead_attention_of_torch_is_measured_with_and_without_weights():
    """``need_weights`` decides whether torch fuses."""
    x = drawn(3, 5, 8)
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(8, 2, batch_first=True)

    def wrapped(need):
        class Attending(nn.Module):
            def __init__(self):
                super().__init__()
                self.layer = layer

            def forward(self, x):
                return self.layer(x, x, x, need_weights=need)[0]

        return Attending()

    found = [
        [one.entropy for one in audit(wrapped(need), x).places if one.entropy is not None]
        for need in (False, True)
    ]
    with torch.no_grad():
        shares = layer(x, x, x, average_attn_weights=False)[1]
    assert found == [[pytest.approx(formula(shares), rel=1e-4)]] * 2


def test_other_operations_have_no_entropy():
    """The doctest's other half."""
    assert entropy("mm", [torch.ones(2, 3), torch.ones(3, 3)], {}) is None
