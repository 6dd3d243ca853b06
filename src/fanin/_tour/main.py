"""From settings to results, and from results to screen and files."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from fanin import _plot
from fanin._text import paragraph
from fanin._tour.data import load_digits
from fanin._tour.files import make_directory, write_whole
from fanin._tour.first_layer import measure_first_layer
from fanin._tour.nets import find_starts
from fanin._tour.pictures import write_pictures
from fanin._tour.proof import after_training
from fanin._tour.rates import Run, choose_rates
from fanin._tour.results import Conditions, Results, versions, write_json
from fanin._tour.scores import Cell, score, scoring
from fanin._tour.screen import progress, show
from fanin._tour.settings import Settings, fast_settings, full_settings
from fanin._tour.signal import measure_depth
from fanin._tour.story import Block, before_training, opening
from fanin._tour.workers import one_thread, workers

__all__ = ["measure", "tour"]

Tell: TypeAlias = Callable[[Sequence[Block]], None]


def tour(names: Sequence[str], *, seed: int, fast: bool, out: Path, as_json: bool) -> None:
    """Measure, tell the story (or print the results as JSON), write results and pictures.

    Raises:
        FaninError: for a name that is no start, a seed out of range, or a directory that cannot
            be made; before anything is measured.
    """
    settings = (fast_settings if fast else full_settings)(find_starts(names), seed)
    make_directory(out)
    tell = _say_nothing if as_json else show
    with progress("training") as report, workers(report) as run:
        results = measure(settings, run, tell)
    saved = _write_files(results, out)
    tell(after_training(results))
    tell([Block(paragraph(sentence)) for sentence in saved])
    if as_json:
        sys.stdout.write(write_json(results))


def measure(settings: Settings, run: Run, tell: Tell) -> Results:
    """All that the tour measures; the part before training is told before training starts."""
    tell(opening([start.name for start in settings.starts], settings.seed))
    digits = load_digits()
    with one_thread():
        first_layer = [
            measure_first_layer(start, settings.seed, digits) for start in settings.starts
        ]
        depth = [
            measure_depth(start, layers, settings.scoring_seeds, digits)
            for layers in settings.depths
            for start in settings.starts
        ]
    tell(before_training(first_layer, depth))
    return Results(
        _conditions(settings, len(digits.train_labels), len(digits.test_labels)),
        first_layer,
        depth,
        _train(settings, run),
    )


def _train(settings: Settings, run: Run) -> list[Cell]:
    unchosen = [0.0] * len(settings.starts)
    later = sum(
        training.size
        for network in settings.networks
        for training in scoring(settings, unchosen, network)
    )
    return score(settings, choose_rates(settings, run, later=later), run)


def _conditions(settings: Settings, train_images: int, held_out_images: int) -> Conditions:
    return Conditions(
        settings.seed,
        settings.steps,
        settings.batch,
        settings.window,
        settings.target,
        list(settings.tuning_seeds),
        list(settings.scoring_seeds),
        train_images,
        held_out_images,
        versions(),
    )


def _write_files(results: Results, out: Path) -> list[str]:
    """Write results and pictures; returns sentences that say what was written."""
    write_whole(
        out / "results.json",
        lambda path: path.write_text(write_json(results), encoding="utf-8"),
    )
    if not _plot.is_available():
        return [
            f"Every number is in {out / 'results.json'}.",
            "No pictures: matplotlib is not installed. To get them: pip install 'fanin[plot]'",
        ]
    names = write_pictures(results, out)
    return [f"Every number is in {out / 'results.json'}; pictures beside it: {', '.join(names)}."]


def _say_nothing(blocks: Sequence[Block]) -> None:
    """With --json, standard output is for the JSON alone."""
