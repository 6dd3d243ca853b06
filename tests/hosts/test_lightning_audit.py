"""fanin.lightning.AuditCallback with Lightning: the start is looked at and nothing is changed."""

import logging
import os
import pickle
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from tests.hosts.pages import needs
from torch import nn

needs("lightning")

import lightning  # noqa: E402
from lightning.pytorch.loggers import CSVLogger  # noqa: E402

import fanin  # noqa: E402
from fanin import FaninError  # noqa: E402
from fanin.lightning import AuditCallback  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # those of other packages


class Net(lightning.LightningModule):
    """Has what an extra run could leave a trace in: dropout, batch norm, metrics, counters."""

    def __init__(self, scale=1.0, optimizer=torch.optim.SGD):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(32, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 10)
        )
        nn.init.normal_(self.layers[4].weight, std=scale / 8)
        self.optimizer, self.steps = optimizer, 0

    def forward(self, images):
        return self.layers(images)

    def training_step(self, batch, _):
        images, labels = batch
        self.steps += 1
        loss = nn.functional.cross_entropy(self(images), labels)
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self):
        return self.optimizer(self.parameters(), lr=0.05)


class OneArgument(Net):
    """Returns a dictionary, and has no index."""

    def training_step(self, batch):
        return {"loss": super().training_step(batch, 0)}


class ByHand(Net):
    """Optimizes by itself."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, _):
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(super().training_step(batch, _))
        optimizer.step()


@pytest.fixture(autouse=True)
def quiet(tmp_path, monkeypatch):
    """Files go to a directory of the test's own."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    monkeypatch.chdir(tmp_path)


def data():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(48, 32, generator=generator)
    labels = torch.randint(10, (48,), generator=generator)
    rows = list(zip(images, labels, strict=True))
    return torch.utils.data.DataLoader(rows, batch_size=16, shuffle=True)


def fit(module, *callbacks, steps=3, seed=1, loader=None, **options):
    trainer = lightning.Trainer(
        max_steps=steps,
        callbacks=list(callbacks),
        accelerator="cpu",
        logger=options.pop("logger", False),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
        **options,
    )
    torch.manual_seed(seed)
    trainer.fit(module, loader or data())
    return trainer


def made(kind=Net, **options):
    torch.manual_seed(0)
    return kind(**options)


@pytest.mark.parametrize("loss", [None, nn.functional.cross_entropy])
def test_a_training_is_bit_for_bit_the_same_with_an_audit(loss):
    """The order of the data, dropout, batch norm's averages, metrics and counters."""
    alone, looked_at = made(), made()
    plain, audited = fit(alone), fit(looked_at, AuditCallback(loss))
    for (name, one), other in zip(
        alone.state_dict().items(), looked_at.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other), name
    assert alone.steps == looked_at.steps == 3
    assert plain.callback_metrics == audited.callback_metrics
    assert vars(alone).keys() == vars(looked_at).keys()


@pytest.mark.parametrize("kind", [Net, OneArgument])
def test_the_training_step_is_what_is_audited(kind):
    """Its loss, on the first batch, at the first step of its optimizer, by the module's names."""
    callback = AuditCallback()
    module = made(kind)
    torch.manual_seed(1)
    images, _ = next(iter(data()))
    fit(module, callback)
    found = callback.report
    assert found.model == kind.__name__
    assert found.batch == "[float32 16x32, int64 16]"
    assert (found.optimizer, found.learning_rate) == ("sgd", 0.05)
    assert [place.weight for place in found.layers] == ["layers.0.weight", "layers.4.weight"]
    expected = nn.functional.linear(images, made(kind).layers[0].weight, made(kind).layers[0].bias)
    first = found.layers[0].signal.second_moment
    assert first == pytest.approx(expected.pow(2).mean().item(), rel=1e-5)
    assert 2 < found.loss.value < 4


def test_a_loss_of_its_own_is_of_forward_and_the_target():
    """And then the uninformed loss is known."""
    callback = AuditCallback(nn.functional.cross_entropy)
    fit(made(), callback)
    assert callback.report.loss.classes == 10
    assert callback.report.model == "Net"


def test_a_batch_that_is_no_pair_is_split_by_the_user():
    """A dictionary, say; the callback does not guess."""

    class Named(Net):
        def training_step(self, batch, index):
            return super().training_step((batch["x"], batch["y"]), index)

    rows = [{"x": torch.ones(32), "y": torch.tensor(1)} for _ in range(8)]
    named = torch.utils.data.DataLoader(rows, batch_size=4)
    loss = nn.functional.cross_entropy
    with pytest.raises(FaninError, match="split="):
        fit(made(Named), AuditCallback(loss), loader=named)
    callback = AuditCallback(loss, split=lambda batch: (batch["x"], batch["y"]))
    fit(made(Named), callback, loader=named)
    assert callback.report.loss.classes == 10
    callback = AuditCallback()
    fit(made(Named), callback, loader=named)
    assert callback.report.batch == "{x: float32 4x32, y: int64 4}"


def test_the_precision_is_that_of_the_training():
    """Numbers that bfloat16 rounds are rounded in the audit too."""
    callback = AuditCallback()
    fit(made(), callback, precision="bf16-mixed")
    assert callback.report.layers[0].signal.second_moment > 0
    exact = AuditCallback()
    fit(made(), exact)
    assert callback.report.loss.value != exact.report.loss.value
    assert callback.report.loss.value == pytest.approx(exact.report.loss.value, rel=0.02)


def test_arguments_go_to_the_audit():
    """They go before what the trainer has."""
    callback = AuditCallback(learning_rate=0.5, training=False)
    fit(made(), callback)
    assert (callback.report.learning_rate, callback.report.mode) == (0.5, "evaluation")


def test_an_optimizer_that_is_not_known_is_left_to_the_default():
    """RMSprop's first step is no Adam step."""
    callback = AuditCallback()
    fit(made(optimizer=torch.optim.RMSprop), callback)
    assert (callback.report.optimizer, callback.report.learning_rate) == ("adam", 0.001)


def test_a_training_step_that_optimizes_is_refused_before_it_runs():
    """An audit of it would change the weights."""
    module = made(ByHand)
    before = module.layers[0].weight.clone()
    with pytest.raises(FaninError, match="changes the weights"):
        fit(module, AuditCallback())
    assert torch.equal(module.layers[0].weight, before)
    assert module.steps == 0
    callback = AuditCallback(nn.functional.cross_entropy)
    fit(made(ByHand), callback)
    assert callback.report is not None


def test_a_batch_that_the_step_skips_is_no_failure_and_the_next_is_audited():
    """Lightning goes on where training_step returns None."""

    class Skips(Net):
        def training_step(self, batch, index):
            return None if index == 0 else super().training_step(batch, index)

    callback = AuditCallback(raise_if_unhealthy=True, severity="error")
    module = made(Skips)
    fit(module, callback, steps=3)
    assert callback.report is not None
    assert module.steps == 2  # of the three, one was skipped


def test_a_misspelt_argument_is_refused_when_the_callback_is_made():
    """Not after the data were loaded."""
    with pytest.raises(FaninError, match="raise_if_unhealthy"):
        AuditCallback(raise_if_unhealty=True)
    with pytest.raises(FaninError, match="learning_rate"):
        AuditCallback(learning_rat=0.1)


def test_a_training_that_goes_on_is_not_audited(tmp_path):
    """Its weights are no start."""
    trainer = fit(made(), steps=1)
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    callback = AuditCallback()
    again = lightning.Trainer(max_steps=2, callbacks=[callback], accelerator="cpu", logger=False)
    again.fit(made(), data(), ckpt_path=tmp_path / "one.ckpt", weights_only=False)
    assert callback.report is None
    fit(made(), callback)
    assert callback.report is not None


def test_loggers_get_the_report(tmp_path):
    """Also one that knows only numbers."""
    fit(made(), AuditCallback(), logger=CSVLogger(tmp_path, name="csv"))
    (path,) = tmp_path.rglob("metrics.csv")
    header = path.read_text(encoding="utf-8").splitlines()[0]
    assert "audit/std/layers.0" in header
    fit(made(), AuditCallback(log=False), logger=CSVLogger(tmp_path, name="none"))
    (path,) = (tmp_path / "none").rglob("metrics.csv")
    assert "audit" not in path.read_text(encoding="utf-8")


def test_an_unhealthy_start_raises_before_the_first_step_or_warns():
    """As the user wants it."""
    module = made()
    nn.init.constant_(module.layers[4].weight, torch.nan)
    with pytest.raises(FaninError, match="not healthy"):
        fit(module, AuditCallback(raise_if_unhealthy=True))
    assert module.steps == 0
    with pytest.warns(UserWarning, match="not healthy"):
        fit(module, AuditCallback(), steps=1)


def test_the_page_is_written(tmp_path):
    """Where it was asked for."""
    fit(made(), AuditCallback(html=tmp_path / "audit.html"), steps=1)
    assert "<html" in (tmp_path / "audit.html").read_text(encoding="utf-8")


def test_the_callback_is_one_class_that_can_be_pickled():
    """Strategies that start processes send it there."""
    assert fanin.lightning.AuditCallback is AuditCallback
    assert issubclass(AuditCallback, lightning.Callback)
    assert type(pickle.loads(pickle.dumps(AuditCallback(log=False)))) is AuditCallback  # noqa: S301


def test_the_other_package_of_lightning_is_served_too():
    """pytorch_lightning has classes of its own, and takes no callback of the other's."""
    code = (
        "from tests.zoo.packages import load; load('pytorch_lightning'); "
        "import sys, pytorch_lightning; from fanin.lightning import AuditCallback; "
        "assert issubclass(AuditCallback, pytorch_lightning.Callback); "
        "assert 'lightning.pytorch' not in sys.modules; "
        "pytorch_lightning.Trainer(callbacks=[AuditCallback()], accelerator='cpu', logger=False)"
    )
    if find_spec("pytorch_lightning") is None:
        pytest.skip("pytorch_lightning is not installed")
    root = Path(__file__).parents[2]
    paths = os.pathsep.join([str(root), str(Path(fanin.__file__).parents[1])])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stderr.decode()
