"""Axes of views against an oracle: the same views of a tensor that holds its own indices."""

from itertools import product
from math import prod

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fanin._trace._axes import Axes, Run

SIZES = st.sampled_from([1, 2, 3, 4, 6])
many = settings(max_examples=200)


def factors(size):
    """Every way to write a size as a product of two."""
    return [(a, size // a) for a in range(1, size + 1) if size % a == 0]


@st.composite
def shapes(draw, size):
    """A shape with this many entries."""
    found, left = [], size
    while left > 1 and len(found) < 4 and draw(st.booleans()):
        first, left = draw(st.sampled_from(factors(left)))
        found.append(first)
    return tuple(draw(st.permutations([*found, left])))


class Both:
    """Axes, and what they are to say: a tensor of indices into each original axis."""

    def __init__(self, shape):
        self.axes = Axes.of(shape)
        grids = torch.meshgrid(*(torch.arange(n) for n in shape), indexing="ij")
        self.places = torch.stack(grids, -1)

    @property
    def shape(self):
        return tuple(self.places.shape[:-1])


def is_grid(places, position):
    """Whether one axis of a view still shows all places of some stretches of original axes."""
    seen = places.movedim(position, 0)[:, *(0,) * (places.dim() - 2)]
    each = [seen[:, axis].unique() for axis in range(seen.shape[1])]
    even = all(len(one) < 3 or len(one.diff().unique()) == 1 for one in each)
    return even and len(seen.unique(dim=0)) == prod(len(one) for one in each)


# Each makes one view of both, and gives False if the axes say that they cannot, or if what the
# view shows is no grid of places, which axes cannot say.


def view(draw, both):
    target = draw(shapes(both.places[..., 0].numel()))
    viewed = both.axes.viewed(target)
    if viewed is None:
        return False
    both.axes, both.places = viewed, both.places.reshape(*target, -1)
    return True


def unsqueeze(draw, both):
    place = draw(st.integers(0, len(both.shape)))
    both.axes, both.places = both.axes.unsqueezed(place), both.places.unsqueeze(place)
    return True


def squeeze(_draw, both):
    ones = [i for i, size in enumerate(both.shape) if size == 1]
    both.axes = both.axes.reduced(ones[:1])
    both.places = both.places.squeeze(ones[0]) if ones else both.places
    return True


def permute(draw, both):
    order = draw(st.permutations(range(len(both.shape))))
    both.axes, both.places = both.axes.permuted(order), both.places.permute(*order, len(order))
    return True


def transpose(draw, both):
    first, second = draw(st.lists(axes_of(both), min_size=2, max_size=2))
    both.axes = both.axes.transposed(first, second)
    both.places = both.places.transpose(first, second)
    return True


def cut(draw, both):
    axis = draw(axes_of(both))
    start = draw(st.integers(0, both.shape[axis] - 1))
    end = draw(st.integers(start + 1, both.shape[axis]))
    pace = draw(st.integers(1, 3))
    places = both.places[(slice(None),) * axis + (slice(start, end, pace),)]
    if not is_grid(places, axis):
        return False
    both.axes, both.places = both.axes.sliced(axis, start, end, pace), places
    return True


def select(draw, both):
    axis = draw(axes_of(both))
    index = draw(st.integers(0, both.shape[axis] - 1))
    both.axes, both.places = both.axes.selected(axis, index), both.places.select(axis, index)
    return True


def expand(draw, both):
    times = draw(st.integers(2, 3))
    target = tuple(times if size == 1 else size for size in both.shape)
    both.axes, both.places = both.axes.expanded(target), both.places.expand(*target, -1)
    return True


ANYWHERE = [view, view, unsqueeze]
ON_AN_AXIS = [permute, transpose, cut, cut, select, expand, squeeze]


def axes_of(both):
    return st.integers(0, len(both.shape) - 1)


@st.composite
def views(draw):
    """An original of up to three axes, seen through up to five views."""
    both = Both(tuple(draw(st.lists(SIZES, min_size=1, max_size=3))))
    original = both.shape
    for _ in range(draw(st.integers(1, 5))):
        step = draw(st.sampled_from(ANYWHERE + ON_AN_AXIS * bool(both.shape)))
        if not step(draw, both):
            break
    return original, both


def varying(places, position):
    """The original axes whose index changes along one axis of the view."""
    if places.shape[position] == 1:
        return set()
    changes = places.diff(dim=position).flatten(0, -2).any(0)
    return {int(axis) for axis in changes.nonzero().flatten()}


@many
@given(views())
def test_the_shape_is_the_view_s(found):
    """Whatever was cut, glued or moved."""
    _, both = found
    assert both.axes.shape == both.shape


@many
@given(views())
def test_an_axis_of_the_view_holds_the_original_axes_that_change_along_it(found):
    """Which axes a product sums over, and which it keeps, is read from this."""
    _, both = found
    for position in range(len(both.shape)):
        assert both.axes.original(position) == varying(both.places, position)


@many
@given(views())
def test_the_extent_is_how_many_places_of_an_axis_the_view_shows(found):
    """An expert that was selected has extent 1 in the axis of experts."""
    original, both = found
    for axis in range(len(original)):
        assert both.axes.extent(axis) == len(both.places[..., axis].unique())


@many
@given(views())
def test_the_start_is_the_first_place_that_the_view_shows(found):
    """Where a query, key or value begins in a packed weight is read from this."""
    original, both = found
    for axis in range(len(original)):
        assert both.axes.starts[axis] == int(both.places[..., axis].min())


@many
@given(views())
def test_a_stretch_has_no_gaps(found):
    """Blocks are consecutive; every second output is no block."""
    original, both = found
    for axis in range(len(original)):
        places = both.places[..., axis].unique()
        consecutive = len(places) == int(places[-1] - places[0]) + 1
        assert both.axes.is_stretch(axis) == consecutive


@given(st.lists(SIZES, min_size=1, max_size=3), st.data())
def test_a_view_and_its_way_back_change_nothing(shape, data):
    """A reshape for a product, undone after it."""
    axes = Axes.of(shape)
    target = data.draw(shapes(torch.Size(shape).numel()))
    there = axes.viewed(target)
    if there is not None:
        again = there.viewed(tuple(shape))
        assert [again.original(i) for i in range(len(shape))] == [
            axes.original(i) for i in range(len(shape))
        ]
        assert (again.shape, again.starts) == (axes.shape, axes.starts)
    order = data.draw(st.permutations(range(len(shape))))
    back = [order.index(i) for i in range(len(order))]
    assert axes.permuted(order).permuted(back) == axes


def test_a_feature_is_one_axis_of_its_own():
    """The outputs of a product are followed alone; the other axes come from no original one."""
    axes = Axes.feature((2, 3, 12), 2)
    heads = axes.viewed((2, 3, 4, 3))
    assert [heads.original(i) for i in range(4)] == [set(), set(), {0}, {0}]
    merged = heads.transposed(1, 2).viewed((8, 3, 3))
    assert [merged.original(i) for i in range(3)] == [{0}, set(), {0}]


def test_a_view_that_cuts_across_axes_says_that_it_cannot_tell():
    """Rows of 4 out of a 6 by 3 matrix begin in the middle of a row."""
    assert Axes.of((6, 2)).viewed((3, 4)) is not None
    assert Axes.of((4, 3)).viewed((3, 4)) is None
    assert Axes.of((2, 3)).viewed((3, 2)) is None


def test_nothing_is_known_of_nothing():
    """An empty tensor has no axes to follow."""
    assert Axes.of((0, 3)).viewed((3, 0)) is None


CUTS = [(0, 2), (2, 4), (0, 3), (3, 6), (1, 5), (4, 6), (5, 6)]


@pytest.mark.parametrize(("start", "end"), CUTS)
def test_a_slice_across_the_border_of_two_runs_keeps_its_size_and_axes(start, end):
    """(2, 3) glued to 6 and cut anywhere: exact on borders, the axes right elsewhere."""
    for order in ((0, 1), (1, 0)):
        both = Both((2, 3))
        both.axes = both.axes.permuted(order).viewed((6,))
        both.places = both.places.permute(*order, 2).reshape(6, 2)[start:end]
        cut = both.axes.sliced(0, start, end, 1)
        assert cut.shape == (end - start,)
        assert varying(both.places, 0) >= cut.original(0)


def test_a_run_says_its_axis_size_and_pace():
    """Every second of six outputs."""
    assert Axes.of((6,)).sliced(0, 0, 6, 2).axis(0) == (Run(0, 3, 2),)
    assert Axes.of((6,)).sliced(0, 1, 6, 2).starts == (1,)


def test_a_slice_of_an_axis_that_was_cut_and_glued_again_is_exact():
    """Small sizes, all of them: a block that is told is the block that ran."""
    wrong = []
    for a, b in product((2, 3), (2, 4)):
        for start, end in product(range(a * b), range(1, a * b + 1)):
            if start >= end:
                continue
            places = torch.arange(a * b)[start:end]
            cut = Axes.of((a * b,)).viewed((a, b)).viewed((a * b,)).sliced(0, start, end, 1)
            told = (cut.starts[0], cut.extent(0), cut.is_stretch(0))
            if told != (int(places[0]), len(places), True):
                wrong.append((a, b, start, end, told))
    assert wrong == []
