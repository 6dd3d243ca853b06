"""The tour says what it measured, and writes it whole or not at all."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from markupsafe import escape
from tests.docs.small_tour import Here, made_training, small_tour

from fanin._errors import FaninError
from fanin._tour.data import load_digits
from fanin._tour.files import write_whole
from fanin._tour.main import story_of, write_files
from fanin._tour.measure import measure_starts
from fanin._tour.page import page_html
from fanin._tour.proof import after_training
from fanin._tour.results import read_json, write_json
from fanin._tour.settings import fast_settings, full_settings
from fanin._tour.story import before_training
from fanin._tour.workers import one_thread, workers

PAGE = Path(__file__).parents[2] / "docs" / "tutorial" / "tour.md"
PAGE_RESULTS = PAGE.with_name("tour-results.json")


@pytest.fixture(scope="module")
def small():
    """The results of a tour in little."""
    with one_thread():
        return small_tour(Here())


def told(blocks):
    """The words of a story, whatever lines they are in."""
    return " ".join(" ".join(block.text for block in blocks).split())


class TestStory:
    def test_the_story_told_is_the_story_of_results_json(self, small):
        """Read back from the file, the results give every line that was printed."""
        again = read_json(write_json(small))
        assert write_json(again) == write_json(small)
        assert [block.text for block in story_of(again)] == [
            block.text for block in story_of(small)
        ]

    def test_every_line_fits_80_columns(self, small):
        """Longer lines are broken by the terminal, and tables with them."""
        for block in story_of(small):
            assert max(map(len, block.text.splitlines())) <= 80, block.text

    @pytest.mark.parametrize(("factor", "says"), [(1.0, "is within"), (1.3, "is NOT within")])
    def test_the_law_of_torchs_weights_is_held_against_the_drawn_ones(self, small, factor, says):
        """A formula in the text that no longer holds must not go unnoticed."""
        layers = tuple(replace(layer, own=factor / 3) for layer in small.layers)
        assert f"torch's own {says} three sampling errors" in told(
            before_training(replace(small, layers=layers))
        )

    def test_the_cure_is_told_from_the_audits(self, small):
        """With the audits exchanged, the story says the opposite."""
        text = told(before_training(small))
        assert text.index("not healthy: 1 ") < text.rindex("healthy")
        turned = replace(small, before=small.after, after=small.before)
        assert told(before_training(turned)).endswith("fanin.initialize(model, batch)")

    @pytest.mark.parametrize(
        ("slow_with_norm", "says"),
        [
            ([51, 52, 53, 51], "it narrows that spread"),
            ([399, 400, 401, 400], "it widens that spread"),
            ([60, 160, 80, 130], "no difference beyond seed noise"),
        ],
    )
    def test_batch_norm_narrows_the_spread_only_where_it_does(self, small, slow_with_norm, says):
        """The slowest start over the fastest, seed by seed."""
        plain = made_training({"a": [100, 101, 99, 100], "b": [50] * 4})
        normed = made_training({"a": slow_with_norm, "b": [50] * 4}, batch_norm=True)
        assert says in told(after_training(replace(small, trainings=(plain, normed))))

    def test_starts_that_never_arrive_are_counted_and_not_averaged(self, small):
        """Without batch norm there is no slowest start to speak of."""
        plain = made_training({"a": [None] * 4, "b": [50] * 4})
        normed = made_training({"a": [75] * 4, "b": [50] * 4}, batch_norm=True)
        text = told(after_training(replace(small, trainings=(plain, normed))))
        assert "1 of 2 starts reach the target on every seed without batch norm, 2 with" in text
        assert "the slowest start takes 1.50 times the steps of the fastest" in text
        assert "SimpleNet, without batch norm 0 of 4 50" in text
        assert "SimpleNet, without batch norm: not beaten: b" in text

    def test_equal_seeds_give_equal_starts_and_other_seeds_do_not(self, small):
        """The promise of --seed."""
        digits = load_digits()
        with one_thread():
            again, other = measure_starts(0, digits), measure_starts(1, digits)
        assert write_json(again) == write_json(replace(small, trainings=()))
        assert other.own.weights != again.own.weights
        assert other.initialized.weights != again.initialized.weights

    @pytest.mark.slow
    def test_worker_processes_train_as_this_process_does(self, small):
        """Which process trains is no part of the result, nor how busy the machine is."""
        reports = []
        with workers() as executor, one_thread():
            results = small_tour(executor, lambda done, total: reports.append((done, total)))
        assert reports[-1] == (2, 2)
        for one, other in zip(results.trainings, small.trainings, strict=True):
            assert one.comparison.outcomes == other.comparison.outcomes

    def test_the_tutorial_shows_what_the_tour_printed(self):
        """Each block of output in it is part of the story of the results beside it."""
        story = "\n\n".join(block.text for block in story_of(read_json(PAGE_RESULTS.read_text())))
        shown = re.findall(r"```text\n(.*?)\n```", PAGE.read_text(), flags=re.DOTALL)
        assert len(shown) >= 5
        for block in shown:
            assert block in story, block


class TestSettings:
    @pytest.mark.parametrize(
        ("names", "says"),
        [
            (["own", "kaming"], "use one of: kaiming"),
            (["wn"], "use one of: own"),
            (["own", "own"], "each once"),
            ([], "name one or more"),
        ],
    )
    def test_names_that_are_no_recipes_are_told_the_way_out(self, names, says):
        """Before anything is measured."""
        with pytest.raises(FaninError, match=says):
            full_settings(names, 0)

    @pytest.mark.parametrize("make", [fast_settings, full_settings])
    def test_no_two_tours_share_a_seed(self, make):
        """A comparison's seeds are its first one and the next 2,000 at most."""
        first, second = (make(["own"], seed).first_seed for seed in (6, 7))
        assert second - first > 2000
        with pytest.raises(FaninError, match="out of range"):
            make(["own"], -1)


class TestPage:
    def test_it_holds_the_whole_story_and_loads_nothing(self, small):
        """One file that can be sent: no script, no address, and no name that is not escaped."""
        page = page_html(story_of(small))
        for block in story_of(small):
            assert escape(block.text) in page
        assert not re.search(r"<script|https?://|\bsrc=|\bhref=", page)
        assert "default-src 'none'" in page

    def test_audits_and_comparisons_are_drawn(self, small):
        """Three charts of both audits in one, and those of every comparison."""
        page = page_html(story_of(small))
        audits = re.findall(r'<figure class="chart[^"]*" data-measure', page)
        assert len(audits) == 3
        assert page.count('class="line layers before"') == 2 * 3
        for chart in ("loss", "seeds", "rates", "ratios"):
            assert page.count(f'<figure class="chart {chart}">') == len(small.trainings)

    def test_equal_results_give_equal_bytes(self, small):
        """So that a page changes only with its numbers."""
        again = read_json(write_json(small))
        assert page_html(story_of(again)) == page_html(story_of(small))


class TestFiles:
    def test_pictures_are_png_and_svg_and_equal_results_give_equal_bytes(self, small, tmp_path):
        """So that a committed picture changes only with its numbers."""
        written = []
        for directory in (tmp_path / "one", tmp_path / "two"):
            directory.mkdir()
            write_files(small, directory)
            written.append({path.name: path.read_bytes() for path in directory.iterdir()})
        assert written[0] == written[1]
        names = ("audit", "SimpleNet", "SimpleNet-batch-norm")
        pictures = {f"{name}{suffix}" for name in names for suffix in (".png", ".svg")}
        assert set(written[0]) == {"tour.html", "results.json"} | pictures
        assert all(
            data.startswith(b"\x89PNG") for name, data in written[0].items() if "png" in name
        )

    def test_a_file_that_fails_half_way_leaves_the_old_one_and_no_other(self, tmp_path):
        """Ctrl-C while writing is such a failure."""
        kept = tmp_path / "audit.png"
        kept.write_text("old")

        def interrupted(path):
            path.write_text("half")
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            write_whole(kept, interrupted)
        assert [path.name for path in tmp_path.iterdir()] == ["audit.png"]
        assert kept.read_text() == "old"

    def test_without_matplotlib_there_is_a_sentence_and_no_picture(
        self, small, tmp_path, monkeypatch
    ):
        """The page and the numbers are there; the sentence says how to get pictures."""
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        said = " ".join(write_files(small, tmp_path))
        assert "pip install 'fanin[plot]'" in said
        assert sorted(path.name for path in tmp_path.iterdir()) == ["results.json", "tour.html"]


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
        """One command, from nothing to the page; progress goes to the other stream."""
        process = fanin_process("tour", "--fast", "--json", "--out", str(tmp_path))
        printed, progress = process.communicate(timeout=300)
        assert process.returncode == 0, progress
        assert printed == (tmp_path / "results.json").read_text()
        assert "training: 100 %" in progress
        assert (tmp_path / "TenLayers.png").stat().st_size > 10_000
        assert (tmp_path / "tour.html").read_text() == page_html(story_of(read_json(printed)))
        deep = read_json(printed).trainings[0].comparison
        arrived = {start.name: [one.steps for one in deep.of(start.name)] for start in deep}
        assert deep.reference == "own"
        assert set(arrived["own"]) == {None}
        assert None not in arrived["steady"]

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
