"""A sweep of scales in words, for terminals of 80 columns."""

from collections.abc import Iterator, Mapping
from math import inf, log10
from typing import Final

from fanin._compare._norms import NAMES, Norm
from fanin._compare._scale_result import Band, Cell, ScaleSweep, factor_name
from fanin._text import paragraph, table

__all__ = ["cell_text", "norm_label", "sentence", "subtitle", "sweep_text", "title", "why_not"]

_NAMED: Final[Mapping[Norm, str]] = {"batch": "batch norm", "layer": "layer norm"}


def sweep_text(sweep: ScaleSweep) -> str:
    """Title, a line of steps and one of rates for each norm, what they mean, the sentence."""
    rows = [row for norm in sweep.norms for row in _rows(sweep, norm)]
    names = [factor_name(factor) for factor in sweep.factors]
    legend = (
        "steps: median to the target; 2/5: so many seeds arrive; div: all diverge. rate: the best "
        "learning rate, chosen on other seeds; *: the last that was tried on its side."
    )
    pieces = [
        paragraph(f"{title(sweep)}: {subtitle(sweep)}"),
        table(["norm", "", *names], rows, left=(0, 1)),
        paragraph(legend),
        paragraph(sweep.sentence),
        *map(paragraph, sweep.notes),
    ]
    return "\n\n".join(pieces)


def title(sweep: ScaleSweep) -> str:
    """What was scaled."""
    return f"{sweep.model}, {sweep.scaled} of {sweep.recipe} scaled"


def subtitle(sweep: ScaleSweep) -> str:
    """What the trainings have in common."""
    settings = sweep.settings
    target = "no target" if settings.target is None else f"target {settings.target:.4g}"
    said = sweep.comparisons[0].target
    return (
        f"{settings.optimizer}, {target}{f' ({said})' if said else ''} within {settings.steps} "
        f"steps, {_count(len(settings.scoring_seeds), 'seed')}"
    )


def norm_label(sweep: ScaleSweep, norm: Norm) -> str:
    """The norm, or that the model has its own."""
    return "its own" if norm is None and sweep.own_norms else NAMES[norm]


def _rows(sweep: ScaleSweep, norm: Norm) -> Iterator[list[str]]:
    cells = sweep.cells(norm)
    yield [norm_label(sweep, norm), "steps", *map(cell_text, cells)]
    yield ["", "rate", *(_rate(cell) for cell in cells)]


def _rate(cell: Cell) -> str:
    start = cell.score.start
    return f"{start.rate:g}" + "*" * start.on_edge


def cell_text(cell: Cell) -> str:
    """The median of the steps; else how many seeds arrive, or that all diverge."""
    if cell.trains:
        return f"{cell.score.median:.0f}"
    return "div" if cell.diverged else f"{cell.score.arrived}/{len(cell.score.steps)}"


def sentence(sweep: ScaleSweep) -> str:
    """The bands, then for each the first scale above it."""
    bands = {norm: sweep.band(norm) for norm in sweep.norms}
    said = "; ".join(f"{_with(sweep, norm)} {_band(sweep, norm)}" for norm in bands)
    large = (_too_large(sweep, norm, band, bands) for norm, band in bands.items() if band)
    return " ".join([f"{said[:1].upper()}{said[1:]}.", *large])


def _with(sweep: ScaleSweep, norm: Norm) -> str:
    if norm is None:
        return "as it is" if sweep.own_norms else "without norm"
    return f"with {_NAMED[norm]}"


def _band(sweep: ScaleSweep, norm: Norm) -> str:
    band = sweep.band(norm)
    if band is None:
        middle = min(sweep.cells(norm), key=lambda cell: abs(log10(cell.factor)))
        return f"{factor_name(middle.factor)} itself does not train: {why_not(middle)}"
    inside = f"{factor_name(band.low)} alone trains"
    if band.low < band.high:
        inside = f"{factor_name(band.low)} to {factor_name(band.high)} train"
    return f"{inside} ({_width(band)}){_others(sweep, norm, band)}"


def _width(band: Band) -> str:
    """What was seen, and the most that it can be between the factors that were tried."""
    if band.at_most == inf:
        ends = [band.low] * (band.below is None) + [band.high] * (band.above is None)
        where = " and ".join(map(factor_name, ends))
        return f"at least {_decades(band.decades)}: the sweep ends at {where}"
    if band.low == band.high:
        return f"at most {_decades(band.at_most)}"
    return f"{_decades(band.decades)}, at most {band.at_most:.3g}"


def _others(sweep: ScaleSweep, norm: Norm, band: Band) -> str:
    """Factors that train apart from the band."""
    cells = sweep.cells(norm)
    apart = [one for one in cells if one.trains and not band.low <= one.factor <= band.high]
    return f" and {', '.join(factor_name(cell.factor) for cell in apart)} apart" if apart else ""


def _too_large(sweep: ScaleSweep, norm: Norm, band: Band, bands: Mapping[Norm, Band | None]) -> str:
    """What becomes of scales above the band, and how much larger than without norm that is."""
    plain = bands.get(None)
    is_alone = norm is None or plain is None
    more = 0.0 if plain is None else log10(band.high / plain.high)
    said = f"{_with(sweep, norm)}," if is_alone else f"{_NAMED[norm]} {_borne(more)}"
    said = said[:1].upper() + said[1:]
    if band.above is None:
        return f"{said} no scale was too large." if is_alone else f"{said}, to the sweep's end."
    (cell,) = (one for one in sweep.cells(norm) if one.factor == band.above)
    fails = f"{factor_name(cell.factor)} fails: {why_not(cell)}."
    return f"{said} {fails}" if is_alone else f"{said}, {fails}"


def _borne(more: float) -> str:
    """How many decades larger the largest scale is than without norm."""
    if more > 0:
        return f"bears scales {_decades(more)} larger"
    return f"bears scales {_decades(-more)} less" if more < 0 else "rescues no larger scale"


def why_not(cell: Cell) -> str:
    """How a scale fails: at its best rate, or at all that were tried."""
    if cell.score.arrived or cell.tuned:
        count = f"{cell.score.arrived} of {len(cell.score.steps)} seeds"
        return f"{count} arrive at the best rate, {cell.score.start.rate:g}"
    rates = sorted(cell.score.rates)
    if len(rates) == 1:
        tried = f"the only rate, {rates[0]:g}"
    else:
        tried = f"any of {len(rates)} rates from {rates[0]:g} to {rates[-1]:g}"
    return f"no seed arrives at {tried}" + (", all diverge" if cell.diverged else "")


def _decades(number: float) -> str:
    return _count(float(f"{number:.3g}"), "decade")


def _count(number: float, what: str) -> str:
    return f"{number:g} {what}" + "s" * (number != 1)
