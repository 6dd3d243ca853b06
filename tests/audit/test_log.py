"""A report sent to loggers: real ones where they are installed, else by what they can do."""

import sys
from importlib.util import find_spec
from types import ModuleType

import pytest
from tests.audit import samples

from fanin import FaninError, _plot
from fanin._audit._log import scalars


class Writer:
    """What is taken of a SummaryWriter."""

    def __init__(self):
        self.scalars, self.texts, self.figures = {}, {}, {}

    def add_scalar(self, tag, value, step):
        self.scalars[tag, step] = value

    def add_text(self, tag, text, step):
        self.texts[tag, step] = text

    def add_figure(self, tag, figure, step):
        self.figures[tag, step] = figure


class Run:
    """What is taken of a run of wandb."""

    __module__ = "wandb.sdk.wandb_run"

    def __init__(self):
        self.sent = []

    def log(self, data, step=None):
        self.sent.append((data, step))


class Lightning:
    """What is taken of a logger of Lightning."""

    def __init__(self, experiment=None):
        self.metrics, self.experiment = [], experiment

    def log_metrics(self, metrics, step=None):
        self.metrics.append((metrics, step))


@pytest.mark.parametrize("sample", samples.ALL, ids=lambda one: one.__name__)
def test_every_number_has_a_name_of_its_own(sample):
    """A second value under one name and step would hide the first."""
    names = [name for name, _ in scalars(sample())]
    assert len(names) == len(set(names))
    assert all(isinstance(value, float) for _, value in scalars(sample()))


def test_numbers_are_named_by_their_place():
    """By layer, residual sum and parameter."""
    report = samples.transformer()
    sent = dict(scalars(report))
    assert sent["audit/std/lm_head"] == report.places[-1].signal.std
    assert sent["audit/attention entropy/h.0.attn scaled_dot_product_attention"] == 0.94
    assert sent["audit/std/h.3 add 2"] == pytest.approx(1.53, abs=0.01)
    assert sent["audit/step/wte.weight"] == pytest.approx(0.001)
    assert sent["audit/loss/value"] == 187.3
    assert sent["audit/findings/error"] == 1


def test_tensorboard_gets_numbers_text_and_picture():
    """At the step that was given."""
    writer = Writer()
    samples.vanishing().log(writer, step=7)
    assert writer.scalars == {(name, 7): value for name, value in scalars(samples.vanishing())}
    assert "vanishing-gradient" in writer.texts["audit", 7]
    assert len(writer.figures["audit", 7].axes) == 4


def test_markdown_shows_the_text_as_it_stands():
    """Every line is indented: stars, hashes and underlines of names mean nothing there."""
    writer = Writer()
    samples.transformer().log(writer)
    lines = writer.texts["audit", 0].splitlines()
    assert all(line.startswith("    ") or not line.strip() for line in lines)


def test_wandb_gets_all_at_once():
    """One step has one record; a second would be another point in time."""
    run = Run()
    samples.vanishing().log(run, step=3)
    ((data, step),) = run.sent
    assert step == 3
    assert dict(scalars(samples.vanishing())).items() <= data.items()
    assert data["audit/report"].startswith("not healthy: 2 errors, 1 warning")


def test_wandb_keeps_the_picture_as_an_image(monkeypatch):
    """A bare figure it would try to turn into another kind of chart."""
    wandb = ModuleType("wandb")
    wandb.Image = lambda figure: ("image", figure)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    run = Run()
    samples.healthy().log(run)
    assert run.sent[0][0]["audit/picture"][0] == "image"


def test_a_lightning_logger_gets_numbers_and_its_experiment_the_rest():
    """Also loggers that know numbers only, such as that of CSV files."""
    writer, run = Writer(), Run()
    for logger in (Lightning(writer), Lightning(run), Lightning(object()), Lightning()):
        samples.healthy().log(logger, step=2)
        assert logger.metrics == [(dict(scalars(samples.healthy())), 2)]
    assert list(writer.texts) == [("audit", 2)]
    assert writer.scalars == {}
    assert [sorted(data) for data, _ in run.sent] == [["audit/picture", "audit/report"]]


def test_without_matplotlib_the_picture_is_left_out(monkeypatch):
    """The numbers are what matters."""
    monkeypatch.setattr(_plot, "is_available", lambda: False)
    writer, run = Writer(), Run()
    samples.healthy().log(writer)
    samples.healthy().log(run)
    assert writer.figures == {}
    assert writer.scalars
    assert "audit/picture" not in run.sent[0][0]


def test_anything_else_is_refused():
    """A path, or the module in place of the run."""
    with pytest.raises(FaninError, match="cannot be sent"):
        samples.healthy().log("runs/1")


@pytest.mark.skipif(find_spec("tensorboard") is None, reason="tensorboard is not installed")
@pytest.mark.filterwarnings("ignore")  # those of other packages
def test_the_real_tensorboard_reads_what_was_written(tmp_path):
    """Names and all."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path)) as writer:
        samples.transformer().log(writer, step=1)
    events = EventAccumulator(str(tmp_path), size_guidance={"scalars": 0})
    events.Reload()
    assert {name for name, _ in scalars(samples.transformer())} == set(events.Tags()["scalars"])
    assert events.Tags()["images"] == ["audit"]
