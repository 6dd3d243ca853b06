"""Text for terminals of 80 columns: tables, bars, sparklines, from plain strings and numbers."""

import math
import textwrap
from collections.abc import Collection, Sequence

__all__ = ["WIDTH", "bar", "number", "paragraph", "plain", "sparkline", "table"]

WIDTH = 80

_HEIGHTS = "▁▂▃▄▅▆▇█"
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_ASCII = str.maketrans(
    dict(zip(_EIGHTHS, " ..::||##", strict=True))
    | dict(zip(_HEIGHTS, "__..--=#", strict=True))
    | {"→": ">", "×": "x", "…": "...", "–": "-", "²": "^2"}
)


def paragraph(text: str, *, indent: int = 0, width: int = WIDTH) -> str:
    """``text`` broken into lines of at most ``width`` columns, all indented alike.

    >>> print(paragraph("one two three", indent=2, width=10))
      one two
      three
    """
    margin = " " * indent
    lines = textwrap.wrap(
        text, width, initial_indent=margin, subsequent_indent=margin, break_on_hyphens=False
    )
    return "\n".join(lines)


def table(
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    left: Collection[int] = (0,),
    width: int = WIDTH,
) -> str:
    """Columns two spaces apart, flush left where in ``left``, else flush right.

    A table that would be wider than ``width`` has its widest left column cut short.

    >>> print(table(["start", "steps"], [["kaiming", "9"], ["xavier", "12"]]))
    start    steps
    -------  -----
    kaiming      9
    xavier      12
    """
    lines = [list(headers), *[list(row) for row in rows]]
    sizes = [max(len(line[column]) for line in lines) for column in range(len(headers))]
    excess = sum(sizes) + 2 * (len(sizes) - 1) - width
    if excess > 0 and left:
        widest = max(left, key=lambda column: sizes[column])
        sizes[widest] = max(4, sizes[widest] - excess)
    lines.insert(1, ["-" * size for size in sizes])
    return "\n".join(_line(cells, sizes, left) for cells in lines)


def _line(cells: Sequence[str], sizes: Sequence[int], left: Collection[int]) -> str:
    fitted = []
    for column, (cell, size) in enumerate(zip(cells, sizes, strict=True)):
        shown = cell if len(cell) <= size else cell[: size - 1] + "…"
        fitted.append(shown.ljust(size) if column in left else shown.rjust(size))
    return "  ".join(fitted).rstrip()


def sparkline(values: Sequence[float], low: float, high: float, *, log: bool = False) -> str:
    """One character a value, as high as the value lies between ``low`` and ``high``.

    Values outside are drawn at the edge; what is not a number, or not positive on a ``log`` scale,
    as a space.

    >>> sparkline([1, 10, 100, 1000], 1, 1000, log=True)
    '▁▃▆█'
    """
    return "".join(_height(value, low, high, log=log) for value in values)


def _height(value: float, low: float, high: float, *, log: bool) -> str:
    if not math.isfinite(value) or (log and value <= 0):
        return " "
    place = _place(value, low, high, log=log)
    return _HEIGHTS[round(place * (len(_HEIGHTS) - 1))]


def _place(value: float, low: float, high: float, *, log: bool) -> float:
    if log:
        value, low, high = math.log(value), math.log(low), math.log(high)
    if high <= low:
        return 1.0
    return min(1.0, max(0.0, (value - low) / (high - low)))


def bar(value: float, largest: float, width: int) -> str:
    """A bar of ``width`` columns where ``value`` is ``largest``, to an eighth of a column.

    >>> bar(3, 4, 8)
    '██████'
    """
    if not (math.isfinite(value) and largest > 0):
        return ""
    eighths = round(min(1.0, max(0.0, value / largest)) * width * 8)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def number(value: float | None, digits: int = 3) -> str:
    """``value`` to so many significant digits, short; a dash for None.

    >>> number(0.035714), number(1234.5), number(2.5e-13), number(None)
    ('0.0357', '1,234', '2.50e-13', '–')
    """
    if value is None:
        return "–"
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if not 1e-4 <= abs(value) < 1e7:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}"


def plain(text: str, encoding: str) -> str:
    """``text`` with every character that ``encoding`` cannot write replaced by a likeness.

    >>> plain("×2 ▁█", "ascii")
    'x2 _#'
    """
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.translate(_ASCII)
    return text.encode(encoding, "replace").decode(encoding)
