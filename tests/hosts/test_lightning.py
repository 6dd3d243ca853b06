"""docs/how-to/lightning.md, run with Lightning; and what it says of the order of its hooks."""

import logging

import pytest
import torch
from tests.hosts.pages import needs, run_page, states

needs("lightning")
pytestmark = pytest.mark.filterwarnings("ignore")  # those of other packages


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The names that the page defines, after its two trainings."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("lightning"))
        yield run_page("lightning.md")


def watcher(seen):
    """A callback that writes down which hooks came, and the first layer's weights."""
    import lightning

    class Watch(lightning.Callback):
        def setup(self, _trainer, module, **_stage):
            seen.append(("setup", module.layers))

        def on_load_checkpoint(self, *_):
            seen.append(("checkpoint", None))

        def on_fit_start(self, trainer, module):
            optimizer = trainer.optimizers[0].param_groups[0]["params"]
            assert {id(one) for one in optimizer} == {id(one) for one in module.parameters()}
            seen.append(("fit_start", states(module)))

        def on_train_start(self, _trainer, module):
            seen.append(("train_start", states(module)))

    return Watch()


def fit(page, steps, **options):
    """A training; the hooks seen, and the module."""
    seen, module = [], page["Net"]()
    trainer = page["L"].Trainer(
        max_steps=steps,
        callbacks=[page["Initialize"](), watcher(seen)],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, page["data"], **options)
    return dict(seen), module, trainer


def test_a_training_starts_from_the_planned_weights(page):
    """Also where configure_model makes the modules; the optimizer's parameters are the same."""
    seen, _, _ = fit(page, 2)
    module = page["Net"]()
    module.configure_model()
    page["fanin"].initialize(module, module.example_input_array, seed=0)
    wanted = states(module)
    assert all(torch.equal(wanted[name], now) for name, now in seen["train_start"].items())


def test_a_training_that_goes_on_keeps_the_checkpoint(page):
    """By on_fit_start its weights are in place, and the callback leaves them alone."""
    seen, _, _ = fit(page, 3, ckpt_path="two-steps.ckpt")
    stored = torch.load("two-steps.ckpt", weights_only=False)["state_dict"]
    assert all(torch.equal(stored[name], now) for name, now in seen["fit_start"].items())
    assert all(torch.equal(stored[name], now) for name, now in seen["train_start"].items())


def test_the_hooks_come_in_the_order_of_the_table(page):
    """The page's choice of on_fit_start stands on it."""
    seen, _, _ = fit(page, 3, ckpt_path="two-steps.ckpt")
    assert list(seen) == ["setup", "checkpoint", "fit_start", "train_start"]
    assert seen["setup"] is None  # configure_model has made nothing yet


def test_a_second_fit_goes_on_from_where_the_first_ended(page):
    """The same trainer, given more steps: its weights are trained ones."""
    _, module, trainer = fit(page, 1)
    before = states(module)
    seen = []
    trainer.callbacks.append(watcher(seen))
    trainer.fit_loop.max_epochs = 2
    trainer.fit_loop.epoch_loop.max_steps = 2
    trainer.fit(module, page["data"])
    resumed = dict(seen)["train_start"]
    assert all(torch.equal(before[name], now) for name, now in resumed.items())
    assert trainer.global_step == 2
