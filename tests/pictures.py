"""Pictures in tests: drawn as they would be saved, and read again."""

from matplotlib.backends.backend_agg import FigureCanvasAgg

__all__ = ["drawn", "titles"]


def drawn(one, **options):
    """The figure of a report or a comparison, after everything on it was really drawn."""
    figure = one.plot(**options)
    FigureCanvasAgg(figure).draw()
    return figure


def titles(figure):
    """The titles of its panels."""
    return [axes.get_title(loc="left") for axes in figure.axes]
