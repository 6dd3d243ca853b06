"""Sweeps of initial scales: bands from outcomes, what is said of them, and small real sweeps."""

from dataclasses import replace
from math import inf

import pytest
import torch
from torch import nn

import fanin
from fanin import FaninError
from fanin._compare._comparison import Comparison, Contestant
from fanin._compare._records import Member, Outcome, Settings, Trial
from fanin._compare._scale import FACTORS, sweep_scale
from fanin._compare._scale_result import Band, ScaleSweep, factor_name

SETTINGS = Settings(
    optimizer="sgd", steps=250, target=0.5, rates=(0.01, 0.1), scoring_seeds=(0, 1, 2)
)
TENFOLD = (0.01, 0.1, 1, 10, 100)
DIVERGED = "diverged"


def outcome(name, rate, seed, steps):
    if steps == DIVERGED:
        return Outcome(member=Member(name, rate, seed), steps=None, loss=inf)
    loss = 2.3 if steps is None else 0.25
    return Outcome(member=Member(name, rate, seed), steps=steps, loss=loss, losses=(2.5, loss))


def comparison(factors, cells, tuned):
    """Of each factor the steps of three seeds; a number stands for three times the same."""
    names = [factor_name(factor) for factor in factors]
    rows = {
        name: cell if isinstance(cell, tuple) else (cell,) * 3
        for name, cell in zip(names, cells, strict=True)
    }
    arrives = {name: tuned or any(isinstance(one, int) for one in rows[name]) for name in names}
    return Comparison(
        model="Sequential",
        reference="×1",
        starts=tuple(Contestant(name=n, formula="", rate=0.1, on_edge=n == "×100") for n in names),
        settings=SETTINGS,
        trials=tuple(
            Trial(start=name, rate=rate, steps=(90 if arrives[name] else None,), loss=(1.0,))
            for name in names
            for rate in (0.01, 0.1, 1.0)
        ),
        outcomes=tuple(
            outcome(name, 0.1, seed, rows[name][seed]) for seed in range(3) for name in names
        ),
        target="given",
    )


def sweep_of(rows, *, factors=TENFOLD, tuned=False, **changes):
    fields = {
        "model": "Sequential",
        "recipe": "steady",
        "factors": factors,
        "norms": tuple(rows),
        "comparisons": tuple(comparison(factors, cells, tuned) for cells in rows.values()),
    }
    return ScaleSweep(**{**fields, **changes})


NONE = (None, None, 50, DIVERGED, DIVERGED)
BATCH = (90, 80, 50, (60, 70, None), None)


def test_the_band_is_the_run_of_scales_around_1_at_which_every_seed_arrives():
    """One seed that fails ends it: a user has one run."""
    assert sweep_of({None: NONE}).band(None) == Band(1, 1, below=0.1, above=10)
    assert sweep_of({None: BATCH}).band(None) == Band(0.01, 1, below=None, above=10)
    apart = (40, None, 50, 60, 70)
    assert sweep_of({None: apart}).band(None) == Band(1, 100, below=0.1, above=None)


def test_where_the_start_itself_does_not_train_there_is_no_band():
    """A band that leaves 1 out is none of the recipe's."""
    sweep = sweep_of({None: (None, 50, (40, None, 50), 60, 70)})
    assert sweep.band(None) is None
    assert sweep.sentence == (
        "Without norm ×1 itself does not train: 2 of 3 seeds arrive at the best rate, 0.1."
    )


@pytest.mark.parametrize(
    ("cells", "decades", "at_most"),
    [
        (NONE, 0, 2),
        ((None, 50, 50, 50, None), 2, 4),
        (BATCH, 2, inf),
        ((50,) * 5, 4, inf),
    ],
)
def test_a_band_is_as_wide_as_was_seen_and_narrower_than_its_neighbours(cells, decades, at_most):
    """A grid tells two bounds; where the sweep ends there is only one."""
    band = sweep_of({None: cells}).band(None)
    assert (band.decades, band.at_most) == (pytest.approx(decades), pytest.approx(at_most))


def test_the_sentence_says_the_bands_and_what_becomes_of_scales_above():
    """The truth about too-large scales is beside the band."""
    sweep = sweep_of({None: NONE, "batch": BATCH, "layer": (None, 80, 70, 60, None)})
    assert sweep.sentence == (
        "Without norm ×1 alone trains (at most 2 decades); with batch norm ×0.01 to ×1 train (at "
        "least 2 decades: the sweep ends at ×0.01); with layer norm ×0.1 to ×10 train (2 decades, "
        "at most 4). "
        "Without norm, ×10 fails: no seed arrives at any of 3 rates from 0.01 to 1, all diverge. "
        "Batch norm rescues no larger scale, ×10 fails: 2 of 3 seeds arrive at the best rate, 0.1. "
        "Layer norm bears scales 1 decade larger, ×100 fails: no seed arrives at any of 3 rates "
        "from 0.01 to 1."
    )


def test_a_scale_at_which_tuning_seeds_arrive_is_not_said_to_fail_at_every_rate():
    """That no scoring seed arrives at the chosen rate is less than that none does at any."""
    sweep = sweep_of({None: (None, None, 50, None, None)}, tuned=True)
    assert "×10 fails: 0 of 3 seeds arrive at the best rate, 0.1." in sweep.sentence


def test_what_trains_up_to_the_end_or_apart_from_the_band_is_said():
    """A sweep that is too short looks like a wide band otherwise."""
    whole = sweep_of({None: (50, None, 50, 60, 70), "batch": (50,) * 5}).sentence
    assert "×1 to ×100 train (at least 2 decades: the sweep ends at ×100) and ×0.01 apart" in whole
    assert "(at least 4 decades: the sweep ends at ×0.01 and ×100)" in whole
    assert "Batch norm rescues no larger scale, to the sweep's end." in whole


def test_a_norm_that_bears_less_is_said_to():
    """Nothing is taken for granted of norms."""
    sweep = sweep_of({None: (None, 50, 50, 50, None), "layer": (None, 50, 50, None, None)})
    assert "Layer norm bears scales 1 decade less, ×10 fails" in sweep.sentence


def test_a_model_with_norms_of_its_own_is_not_called_one_without():
    """The row for None is the model as it is."""
    sweep = sweep_of({None: NONE}, own_norms=True)
    assert sweep.sentence.startswith("As it is ×1 alone trains")
    assert "its own" in str(sweep)


def test_the_table_has_steps_seeds_and_rates_and_fits_a_terminal():
    """Nine half decades and three norms in 80 columns."""
    nine = (None, (50, None, 51), *[45, 50, 55] * 2, DIVERGED)
    sweep = sweep_of({None: nine, "batch": nine, "layer": nine}, factors=FACTORS)
    text = str(sweep)
    assert max(map(len, text.splitlines())) <= 80
    rows = {line.split()[0]: line.split() for line in text.splitlines() if " steps " in line}
    assert rows["none"] == [
        "none",
        "steps",
        "0/3",
        "2/3",
        "45",
        "50",
        "55",
        "45",
        "50",
        "55",
        "div",
    ]
    assert "0.1*" in text


def test_a_sweep_is_a_value_that_saves(tmp_path):
    """Every figure can be made again from the file."""
    sweep = sweep_of({None: NONE, "batch": BATCH}, notes=("a note",))
    sweep.save(tmp_path / "sweep.json")
    again = ScaleSweep.load(tmp_path / "sweep.json")
    assert again == sweep == ScaleSweep.from_json(sweep.to_json(indent=1))
    assert str(again) == str(sweep)
    assert again != replace(sweep, seconds=1.0)


@pytest.mark.parametrize(
    "text",
    ["", "{}", '{"format": "fanin comparison"}', '{"format": "fanin scale sweep", "schema": 1}'],
)
def test_other_text_is_no_sweep(text):
    """Reading runs no code, and guesses nothing."""
    with pytest.raises(FaninError, match="this is not the text of a scale sweep"):
        ScaleSweep.from_json(text)


def test_comparisons_of_other_factors_are_no_sweep():
    """A cell is found by its place."""
    with pytest.raises(FaninError, match="these comparisons are not of one sweep"):
        replace(sweep_of({None: NONE}), factors=(1, 2, 3, 4, 5))


def test_another_norm_is_an_error_with_those_there_are():
    """None is a norm to ask for too."""
    with pytest.raises(FaninError, match="the sweep has no such norm") as found:
        sweep_of({None: NONE, "batch": BATCH}).band("layer")
    assert "None" in found.value.fix
    assert "'batch'" in found.value.fix


def test_the_heat_map_has_each_cell_and_frames_each_band():
    """What is drawn is what is printed."""
    pytest.importorskip("matplotlib")
    figure = sweep_of({None: NONE, "batch": BATCH}).plot()
    (axes,) = figure.axes
    shown = [text.get_text() for text in axes.texts]
    assert shown == ["0/3", "0/3", "50", "div", "div", "90", "80", "50", "2/3", "0/3"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["none", "batch"]
    frames = [(patch.get_x(), patch.get_width()) for patch in axes.patches]
    assert frames == [pytest.approx((1.53, 0.94)), pytest.approx((-0.47, 2.94))]
    assert any("×10 fails" in text.get_text() for text in figure.texts)


def test_a_sweep_is_drawn_on_a_figure_that_is_given():
    """Notebooks and papers bring their own."""
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5))
    assert sweep_of({None: (None,) * 5}).plot(figure) is figure


def test_the_page_has_each_cell_with_its_reason_and_no_script(tmp_path):
    """One file, safe to open."""
    sweep = sweep_of({None: NONE, "batch": BATCH}, model="<script>alert(1)</script>")
    sweep.to_html(tmp_path / "sweep.html")
    page = (tmp_path / "sweep.html").read_text()
    assert "<script" not in page
    assert page.count("<td") == 10
    assert page.count("border-color") == 4
    assert 'title="fails: 2 of 3 seeds arrive at the best rate, 0.1"' in page
    assert sweep._repr_html_() in page


def examples(n=256):
    x = torch.randn(n, 8, generator=torch.Generator().manual_seed(0))
    return x, (x[:, 0] + x[:, 1] > 0).long()


def mlp():
    return nn.Sequential(
        nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2)
    )


SMALL = {
    "factors": (1, 1000),
    "target": 0.4,
    "steps": 60,
    "optimizer": "sgd",
    "rates": (0.1, 0.3),
    "tuning_seeds": 1,
    "scoring_seeds": 2,
    "batch": 32,
}


def small(make=mlp, norms=(None,), **changes):
    return sweep_scale(make, examples(), norms=norms, **(SMALL | changes))


def test_a_small_sweep_finds_that_one_trains_and_a_thousand_does_not():
    """From the model to the band, with norm layers put in."""
    sweep = small(norms=(None, "batch"))
    for norm in (None, "batch"):
        assert sweep.cells(norm)[0].trains
    assert sweep.band(None) == Band(1, 1, below=None, above=1000)
    assert sweep.notes == ("Batch norm was put behind 2 layers: 0, 2.",)
    assert not set(sweep.settings.tuning_seeds) & set(sweep.settings.scoring_seeds)


@pytest.mark.parametrize("hidden_only", [False, True])
def test_each_start_is_the_recipes_plan_times_the_factor(hidden_only):
    """Biases stay; hidden weights are neither the first nor the readout."""
    sweep = small(hidden_only=hidden_only, recipe=fanin.recipes.kaiming, factors=(0.5, 1))
    plan = fanin.plan(mlp(), examples()[0][:32], recipe=fanin.recipes.kaiming)
    names = ["2.weight"] if hidden_only else ["0.weight", "2.weight", "4.weight"]
    starts = sweep.of(None).starts
    assert [one.name for one in starts] == ["×0.5", "×1"]
    assert [one.plan for one in starts] == [
        plan.scaled(dict.fromkeys(names, factor)).checksum for factor in (0.5, 1.0)
    ]
    assert sweep.scaled == ("hidden weights" if hidden_only else "all weights")


def test_a_start_that_is_calibrated_is_calibrated_before_it_is_scaled():
    """Afterwards the calibration would undo the factor."""
    sweep = small(recipe=fanin.recipes.lsuv, factors=(1, 100))
    assert [cell.trains for cell in sweep.cells(None)] == [True, False]


def test_without_a_target_it_is_halfway_from_the_first_loss_to_the_last():
    """In ratio: the losses themselves are decades apart."""
    sweep = small(target=None, norms=(None, "layer"))
    assert 0.05 < sweep.settings.target < 0.6
    assert "halfway, in ratio, from" in str(sweep).replace("\n", " ")
    assert sweep.of("layer").settings.target == sweep.settings.target
    assert sweep.band(None) == Band(1, 1, below=None, above=1000)


def test_a_start_that_does_not_train_gives_no_target():
    """A target above the first loss is reached by doing nothing."""
    with pytest.raises(FaninError, match="there is no target") as found:
        small(target=None, factors=(1000,), rates=(10.0,))
    assert "give target=" in found.value.fix


def test_a_sweep_goes_on_where_it_was_stopped(tmp_path):
    """What is trained is kept, norm by norm; a line that was cut off is trained again."""
    whole = small(norms=(None, "layer"), resume=tmp_path)
    lines = (tmp_path / "layer.jsonl").read_text().splitlines(keepends=True)
    assert len(lines) > 7
    (tmp_path / "layer.jsonl").write_text("".join(lines[:3]) + lines[3][:9])
    (tmp_path / "none.jsonl").unlink()
    again = small(norms=(None, "layer"), resume=tmp_path)
    for norm in (None, "layer"):
        assert [one.score.steps for one in again.cells(norm)] == [
            one.score.steps for one in whole.cells(norm)
        ]
    kept = (tmp_path / "layer.jsonl").read_text()
    third = small(norms=(None, "layer"), resume=tmp_path)
    assert (tmp_path / "layer.jsonl").read_text() == kept
    assert third.cells("layer") == again.cells("layer")


def test_a_sweep_of_other_settings_does_not_go_on_with_the_file(tmp_path):
    """Its trainings are others."""
    small(resume=tmp_path)
    with pytest.raises(FaninError, match="this file is of another comparison"):
        small(resume=tmp_path, steps=30)


def test_progress_is_told_norm_by_norm():
    """Each norm has its rates, then its scores."""
    told = []
    small(norms=(None, "layer"), progress=lambda *now: told.append(now))
    phases = list(dict.fromkeys(phase for phase, _, _ in told))
    assert phases == ["none, rates", "none, scores", "layer, rates", "layer, scores"]
    assert all(0 <= done <= total for _, done, total in told)


def test_a_sweep_leaves_torchs_generator_alone():
    """The user's own draws come out the same."""
    before = torch.get_rng_state()
    small(norms=(None, "batch"), target=None)
    assert torch.equal(before, torch.get_rng_state())


def test_the_norm_is_asked_of_a_maker_that_takes_it():
    """And a model's own norms are seen."""
    asked = []

    def make(norm):
        asked.append(norm)
        return nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.ReLU(), nn.Linear(16, 2))

    sweep = small(make, norms=(None, "batch"))
    assert set(asked) == {None, "batch"}
    assert sweep.own_norms


ONE = mlp()
WRONG = [
    ({"norms": ("group",)}, "there is no such norm"),
    ({"norms": ()}, "there is no such norm"),
    ({"factors": (0, 1)}, "factors are positive numbers"),
    ({"factors": (1, 1.0001)}, "factors are told apart by three digits"),
    ({"factors": ()}, "factors are positive numbers"),
    ({"optimizer": "lion", "rates": None}, "there is no such optimizer"),
    ({"optimizer": "lion"}, "there is no such optimizer"),
    ({"rates": (0.1, -1)}, "rates are positive numbers"),
    ({"rates": ()}, "rates are positive numbers"),
    ({"scoring_seeds": 0}, "scoring_seeds is no number of them"),
    ({"tuning_seeds": 1001}, "too many seeds"),
    ({"workers": -1}, "workers is no whole number"),
    ({"way": "stack"}, "there is no such way to train"),
    ({"steps": 1.5}, "steps is no number of them"),
    ({"make": lambda: ONE}, "make_model returns the same model each time"),
    ({"hidden_only": True, "make": lambda: nn.Linear(8, 2)}, "there is no weight to scale"),
    ({"make": lambda: nn.LayerNorm(8)}, "there is no weight to scale"),
    ({"recipe": "steady"}, "this is not a recipe"),
]


@pytest.mark.parametrize(("changes", "what"), WRONG)
def test_what_cannot_be_swept_is_an_error_with_the_way_out(changes, what):
    """Before anything is trained."""
    with pytest.raises(FaninError, match=what):
        small(**changes)
