"""The tour says what it measured, and writes it whole or not at all."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.docs.small_tour import (
    do_nothing,
    made_cell,
    read,
    run_here,
    small_settings,
    whole_story,
)

from fanin._errors import FaninError
from fanin._plot import TROUBLE
from fanin._tour.files import write_whole
from fanin._tour.main import _write_files, measure
from fanin._tour.nets import DEFAULT_STARTS, deep_net, find_start
from fanin._tour.pictures import write_pictures
from fanin._tour.proof import after_training
from fanin._tour.results import Results, write_json
from fanin._tour.settings import LINEAR
from fanin._tour.workers import workers

PAGE = Path(__file__).parents[2] / "docs" / "tutorial" / "tour.md"
PAGE_RESULTS = PAGE.with_name("tour-results.json")


@pytest.fixture(scope="module")
def small():
    """A tour in little: its results, and what it told."""
    told = []
    results = measure(small_settings(), run_here, told.extend)
    return results, [*told, *after_training(results)]


class TestStory:
    def test_the_story_told_is_the_story_of_results_json(self, small):
        """Read back from the file, the results give every line that was printed."""
        results, told = small
        again = read(Results, json.loads(write_json(results)))
        assert again == results
        assert [block.text for block in whole_story(again)] == [block.text for block in told]

    def test_every_number_printed_follows_the_results(self, small):
        """With other results each table says other things: no number is part of a sentence."""
        results, _ = small
        changed = dataclasses.replace(
            results,
            cells=[
                dataclasses.replace(
                    cell,
                    scores=[
                        dataclasses.replace(
                            one,
                            steps=[41, 43],
                            accuracy=[0.123, 0.123],
                            loss=[7.77, 7.77],
                            rate=0.5,
                        )
                        for one in cell.scores
                    ],
                )
                for cell in results.cells
            ],
        )
        text = "\n".join(block.text for block in after_training(changed))
        for shown in ("42 (41–43)", "12.3 %", "7.77", "0.5"):
            assert text.count(shown) >= 2 * 4

    def test_every_line_fits_80_columns(self, small):
        """Longer lines are broken by the terminal, and tables with them."""
        for block in small[1]:
            assert max(map(len, block.text.splitlines())) <= 80, block.text

    @pytest.mark.parametrize(
        ("mine", "theirs", "says"),
        [
            ([50, 51, 49], [100, 103, 97], "2.00 times fewer steps"),
            ([100, 103, 97], [50, 51, 49], "2.00 times more steps"),
            ([50, 90, 60], [60, 50, 90], "no difference beyond seed noise"),
            ([50, 51, 49], [None, None, None], "reaches the target on 3 of 3 seeds, a on 0 of 3"),
            ([None, 50, 51], [60, None, 61], "reaches the target on as many seeds, 2 of 3"),
        ],
    )
    def test_a_verdict_says_what_the_numbers_say(self, small, mine, theirs, says):
        """And nothing where they say nothing."""
        results = small[0]
        text = " ".join(told_of(results, {"a": theirs, "b": mine}).split())
        assert f"b: {says}" in text

    @pytest.mark.parametrize(
        ("share", "says"),
        [
            ([0.90, 0.91, 0.92], "accuracy: no difference beyond seed noise"),
            ([0.80, 0.81, 0.80], "accuracy: -10.7 (-"),
        ],
    )
    def test_the_accuracy_verdict_too(self, small, share, says):
        """A gain or a loss is a gain or a loss; noise is noise."""
        steps = {"a": [100, 103, 97], "b": [50, 51, 49]}
        shares = {"a": [0.91, 0.91, 0.91], "b": share}
        assert says in " ".join(told_of(small[0], steps, shares).split())

    @pytest.mark.parametrize(("normed_slow", "says"), [(52, "narrows"), (400, "widens")])
    def test_batch_norm_narrows_the_spread_only_where_it_does(self, small, normed_slow, says):
        """The slowest start over the fastest, seed by seed."""
        plain = made_cell({"a": [100, 101, 99], "b": [50, 50, 50]})
        slow = [normed_slow - 1, normed_slow, normed_slow + 1]
        normed = made_cell({"a": slow, "b": [50, 50, 50]}, batch_norm=True)
        results = dataclasses.replace(small[0], cells=[plain, normed])
        assert f"it {says} that spread" in " ".join(
            " ".join(block.text for block in after_training(results)).split()
        )

    def test_equal_seeds_give_equal_bytes_and_other_seeds_do_not(self, small):
        """The promise of --seed."""
        results = small[0]
        again = measure(small_settings(), run_here, do_nothing)
        assert write_json(again) == write_json(results)
        other = measure(small_settings(seed=1, networks=(LINEAR,)), run_here, do_nothing)
        assert other.first_layer[0].variance != results.first_layer[0].variance

    @pytest.mark.slow
    def test_worker_processes_give_the_numbers_of_one_process(self, small):
        """Which process trains, and how many there are, is no part of the result."""
        reports = []
        with workers(lambda done, total: reports.append((done, total))) as run:
            results = measure(small_settings(), run, do_nothing)
        assert write_json(results) == write_json(small[0])
        assert reports[-1][0] == reports[-1][1] > 0

    def test_the_page_shows_what_the_tour_printed(self):
        """Each block of output in the tutorial is part of the story of the results beside it."""
        results = read(Results, json.loads(PAGE_RESULTS.read_text()))
        story = "\n\n".join(block.text for block in whole_story(results))
        shown = re.findall(r"```text\n(.*?)\n```", PAGE.read_text(), flags=re.DOTALL)
        assert len(shown) >= 4
        for block in shown:
            assert block in story, block


def told_of(results, steps, shares=None):
    """The text about one cell of these starts and steps."""
    cell = made_cell(steps, shares)
    return "\n".join(
        block.text for block in after_training(dataclasses.replace(results, cells=[cell]))
    )


class TestFiles:
    def test_pictures_are_png_and_svg_and_equal_results_give_equal_bytes(self, small, tmp_path):
        """So that a committed picture changes only with its numbers."""
        written = []
        for directory in (tmp_path / "one", tmp_path / "two"):
            directory.mkdir()
            names = write_pictures(small[0], directory)
            written.append({name: (directory / name).read_bytes() for name in names})
        assert written[0] == written[1]
        kinds = [
            f"{name}{suffix}"
            for name in ("training", "batch_norm", "signal")
            for suffix in (".png", ".svg")
        ]
        assert sorted(written[0]) == sorted(kinds)
        assert all(
            data.startswith(b"\x89PNG") for name, data in written[0].items() if "png" in name
        )

    def test_red_is_for_a_start_that_never_arrives(self, small, tmp_path):
        """And a start that arrives is never red."""
        failing = made_cell({"a": [None] * 3, "b": [50, 51, 52]})
        fine = made_cell({"a": [60] * 3, "b": [50, 51, 52]})
        for cell, is_red in ((failing, True), (fine, False)):
            write_pictures(dataclasses.replace(small[0], cells=[cell]), tmp_path)
            assert (TROUBLE.lower() in (tmp_path / "training.svg").read_text()) is is_red

    def test_a_file_that_fails_half_way_leaves_the_old_one_and_no_other(self, tmp_path):
        """Ctrl-C while writing is such a failure."""
        kept = tmp_path / "results.json"
        kept.write_text("old")

        def interrupted(path):
            path.write_text("half")
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            write_whole(kept, interrupted)
        assert [path.name for path in tmp_path.iterdir()] == ["results.json"]
        assert kept.read_text() == "old"

    def test_without_matplotlib_there_is_a_sentence_and_no_picture(
        self, small, tmp_path, monkeypatch
    ):
        """The numbers are all there; the sentence says how to get pictures."""
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        said = " ".join(_write_files(small[0], tmp_path))
        assert "pip install 'fanin[plot]'" in said
        assert [path.name for path in tmp_path.iterdir()] == ["results.json"]

    @pytest.mark.parametrize(
        ("name", "fix"),
        [
            ("xavier_unifrom", "xavier_uniform"),
            ("he_normal", "kaiming_normal"),
            ("torch", "torch_default"),
        ],
    )
    def test_an_unknown_start_is_told_the_nearest(self, name, fix):
        """Typing errors and the other author's name alike."""
        with pytest.raises(FaninError, match=rf"use one of: [a-z_, ]*{fix}"):
            find_start(name)


def fanin_process(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "fanin", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    )


@pytest.mark.slow
class TestWholeCommand:
    def test_the_fast_tour_prints_json_alone_and_writes_the_same(self, tmp_path):
        """One command, from nothing to pictures; progress goes to the other stream."""
        process = fanin_process("tour", "--fast", "--json", "--out", str(tmp_path))
        printed, progress = process.communicate(timeout=300)
        assert process.returncode == 0, progress
        assert printed == (tmp_path / "results.json").read_text()
        results = read(Results, json.loads(printed))
        assert [row.start for row in results.first_layer] == list(DEFAULT_STARTS)
        assert "training: 100 %" in progress
        assert (tmp_path / "training.png").stat().st_size > 10_000
        deep = next(cell for cell in results.cells if cell.network == deep_net(10))
        assert {one.against for one in deep.comparisons} == {"torch_default"}

    def test_ctrl_c_ends_everything_with_a_sentence(self, tmp_path):
        """Exit code 130, no traceback, no file, no process left behind."""
        process = fanin_process("tour", "--fast", "--out", str(tmp_path))
        first = process.stderr.readline()
        assert first.startswith("training")
        os.killpg(process.pid, signal.SIGINT)
        _, rest = process.communicate(timeout=60)
        assert process.returncode == 130
        assert rest.splitlines()[-1] == "stopped by Ctrl-C; no unfinished file is left"
        assert "Traceback" not in rest
        assert list(tmp_path.iterdir()) == []
        deadline = time.monotonic() + 30
        while group_lives(process.pid) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not group_lives(process.pid)


def group_lives(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
