"""An apply checks what it wrote: a right start passes, whatever it is, and seeded faults do not."""

from math import sqrt

import pytest
import torch
from tests.conformance.test_initializers import ALL
from tests.thresholds import normal_threshold
from torch import nn

from fanin import FaninError, Layout
from fanin._plan import Entry, plan_from_sites
from fanin._plan._draw._check import stamp
from fanin._plan._draw._law import FALSE_ALARM, Law, law_of
from fanin._plan._draw._measure import measure
from fanin._site import Site
from fanin.initializers import Custom, Normal, Ones, Uniform, Zeros, kaiming_normal
from fanin.recipes import Choice, Keep

LARGE = Layout((300, 200), "out in")
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def entry(initializer, layout=LARGE):
    site = Site(name="w", layout=layout)
    return Entry(site=site, decision=Choice(initializer, "a test"), by="recipe")


def drawn(initializer, layout=LARGE, dtype=torch.float32, seed=0):
    empty = torch.empty(layout.shape, dtype=dtype)
    return initializer.fill_(empty, layout=layout, seed=seed, name="w")


@pytest.mark.parametrize(("value", "where"), ALL, ids=lambda value: str(value)[:50])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_right_start_passes(value, where, dtype):
    """One false alarm in a thousand million models: five seeds of each must not meet one."""
    for seed in range(5):
        tensor = drawn(value, where, dtype, seed)
        assert stamp(entry(value, where), tensor, None, comparisons=1).state == "filled"


def test_the_margin_is_the_law_of_the_squares():
    """1000 draws of 1000 squares spread as told: neither is the margin loose, nor is it passed."""
    for value in (Normal(0.1), Uniform(-0.2, 0.2)):
        law, number = law_of(value, Layout((1000,), "out")), 1000
        stream = drawn(value, Layout((1000, number), "out in")).double()
        squares = stream.pow(2).sum(dim=1)
        spread = (squares - number * law.std**2).abs().max().item()
        margin = law.margin(number, torch.float32, comparisons=1)
        # Of 1000 normal deviates the largest is about 3.3; the margin stands at over six.
        typical = normal_threshold(1e-3) * sqrt((law.kurtosis - 1) * number) * law.std**2
        assert 0.6 * typical < spread < margin < 3 * typical
    assert FALSE_ALARM == 1e-9


FAULTS = {
    "five per cent larger": lambda w: w.mul_(1.05),
    "five per cent smaller": lambda w: w.mul_(0.95),
    "shifted by a third of a std": lambda w: w.add_(0.03),
    "a tenth never written": lambda w: w[:30].zero_(),
    "one infinite": lambda w: w[7, 7].fill_(torch.inf),
    "one not a number": lambda w: w[7, 7].fill_(torch.nan),
    "one from raw memory": lambda w: w[7, 7].fill_(1e30),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("value", [kaiming_normal(), Normal(0.1), Uniform(-0.17, 0.17)], ids=repr)
def test_seeded_faults_are_caught(fault, value):
    """In a weight of 60,000 entries; the error names the parameter and both numbers."""
    tensor = drawn(value)
    FAULTS[fault](tensor)
    with pytest.raises(FaninError, match=r"a std of|not finite") as caught:
        stamp(entry(value), tensor, None, comparisons=100)
    assert caught.value.where.startswith("w: ")


@pytest.mark.parametrize("value", [Zeros, Ones], ids=repr)
def test_a_constant_is_checked_exactly(value):
    """One entry in 60,000, by the smallest step there is."""
    tensor = drawn(value)
    stamp(entry(value), tensor, None, comparisons=1)
    tensor[3, 3] += 1e-7
    with pytest.raises(FaninError, match="a std of"):
        stamp(entry(value), tensor, None, comparisons=1)


def test_the_padding_row_is_counted_as_zeros():
    """A quarter of the rows here: counted as draws it would be a false alarm."""
    table = Layout((4, 5000), "lookup out")
    for value in (Normal(0.5), Normal(0.5, mean=2)):
        tensor = drawn(value, table)
        tensor[1].zero_()
        assert stamp(entry(value, table), tensor, 1, comparisons=1).state == "filled"
        with pytest.raises(FaninError, match="a std of"):
            stamp(entry(value, table), tensor, None, comparisons=1)


def test_numbers_beyond_what_float32_squares_hold_are_measured():
    """The square of 1e25 is infinite in float32, and that of 1e-25 zero; neither is a fault."""
    for std in (1e25, 1e-25):
        value = Normal(std)
        assert stamp(entry(value), drawn(value), None, comparisons=1).state == "filled"


def test_the_checksum_is_that_of_zlib():
    """So anyone can make it again in a line, from the tensor's bytes."""
    import zlib

    for tensor in (
        torch.randn(700, 600),
        torch.randn(9, 5).T,
        torch.randn(3, dtype=torch.complex64),
    ):
        expected = zlib.crc32(tensor.contiguous().numpy().tobytes())
        assert measure(tensor).checksum == f"{expected:08x}"


def test_a_rounding_to_float8_is_no_fault():
    """Three bits of mantissa change a sum of squares by less than the margin for it."""
    law = law_of(Normal(0.1), LARGE)
    tensor = drawn(Normal(0.1)).to(torch.float8_e4m3fn).float()
    off = abs(measure(tensor).squares - tensor.numel() * law.std**2)
    assert off < law.margin(tensor.numel(), torch.float8_e4m3fn, comparisons=1)


def test_what_draws_in_its_own_way_is_only_looked_at_for_finite_numbers():
    """A function says nothing of what it draws."""
    assert law_of(Custom(lambda tensor, layout: None), LARGE) is None
    assert law_of(Normal(0.5), LARGE) == Law(0.0, 0.5, 0.25)


@pytest.mark.parametrize("how", ["in place", "behind autograd's back"])
def test_a_kept_tensor_that_is_written_is_noticed(how):
    """By a function that reaches for another layer's weight, for one."""
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    kept = model[1].weight

    def reaches(tensor, layout):
        tensor.zero_()
        (kept if how == "in place" else kept.data).add_(1)

    where = Layout((4, 4), "out in")
    sites = [Site(name="0.weight", layout=where), Site(name="1.weight", layout=where)]
    plan = plan_from_sites(sites, lambda site: Zeros)
    plan = plan.replace({"0.weight": reaches, "1.weight": Keep("loaded")})
    with pytest.raises(FaninError, match="kept as it was") as caught:
        plan.apply(model, seed=0)
    assert caught.value.where.startswith("1.weight")
