"""From settings to results, and from results to screen and files."""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeAlias

from fanin import _plot
from fanin._bar import progress_bar
from fanin._records_json import write_file
from fanin._text import paragraph
from fanin._tour.data import load_digits
from fanin._tour.files import make_directory, write_whole
from fanin._tour.measure import measure_starts, train_networks
from fanin._tour.page import page_html
from fanin._tour.proof import after_training
from fanin._tour.results import Results, write_json
from fanin._tour.screen import show
from fanin._tour.settings import fast_settings, full_settings
from fanin._tour.story import Block, before_training, opening
from fanin._tour.workers import one_thread, workers

__all__ = ["story_of", "tour", "write_files"]

Tell: TypeAlias = Callable[[Sequence[Block]], None]


def tour(names: Sequence[str], *, seed: int, fast: bool, out: Path, as_json: bool) -> None:
    """Measure, tell the story (or print the results as JSON), write page, results and pictures.

    Raises:
        FaninError: for a name that is no recipe's, a seed out of range, or a directory that cannot
            be made; before anything is measured.
    """
    settings = (fast_settings if fast else full_settings)(names, seed)
    make_directory(out)
    tell: Tell = _say_nothing if as_json else show
    with workers() as executor, one_thread():
        tell(opening(names, seed))
        digits = load_digits()
        results = measure_starts(seed, digits)
        tell(before_training(results))
        with progress_bar("training", lambda share, _: f"training: {share} %") as report:
            results = train_networks(results, settings, digits, executor, report)
    saved = write_files(results, out)
    tell(after_training(results))
    tell([Block(paragraph(sentence)) for sentence in saved])
    if as_json:
        sys.stdout.write(write_json(results))


def story_of(results: Results) -> list[Block]:
    """All of the story, as it was told."""
    names = [start.name for start in results.trainings[0].comparison]
    return [*opening(names, results.seed), *before_training(results), *after_training(results)]


def write_files(results: Results, out: Path) -> list[str]:
    """Write results, page and pictures; returns sentences that say what was written."""
    write_file(out / "results.json", write_json(results))
    write_file(out / "tour.html", page_html(story_of(results)))
    said = [f"The page: {out / 'tour.html'}. Every number: {out / 'results.json'}."]
    if not _plot.is_available():
        return [*said, "No pictures: matplotlib is not installed: pip install 'fanin[plot]'"]
    return [*said, f"Pictures beside it: {', '.join(_write_pictures(results, out))}."]


def _write_pictures(results: Results, out: Path) -> list[str]:
    """The audit before and after, and each comparison, as PNG and SVG."""
    figures = {"audit": results.after.plot(before=results.before)}
    for training in results.trainings:
        network = training.network
        name = f"{network.name}{'-batch-norm' * network.batch_norm}"
        figures[name] = training.comparison.plot()
    names = []
    for name, figure in figures.items():
        for suffix in (".png", ".svg"):
            write_whole(out / f"{name}{suffix}", partial(_plot.save, figure))
            names.append(f"{name}{suffix}")
    return names


def _say_nothing(blocks: Sequence[Block]) -> None:
    """With --json, standard output is for the JSON alone."""
