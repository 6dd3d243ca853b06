"""The suite of bench/convergence: what it keeps, and that its page is what it has kept."""

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from fanin._compare._records import Member, Outcome
from fanin.initializers import Normal
from fanin.recipes import Recipe

ROOT = Path(__file__).parents[2]
SUITE = ROOT / "bench" / "convergence"
TABLES = ("results.md", "tried.md")
SMALL = Recipe("small", lambda _: Normal(0.01), "w ~ N(0, 0.01²)")
ALSO_SMALL = Recipe("also small", lambda _: Normal(0.01), "w ~ N(0, 0.01²)")
LARGE = Recipe("small", lambda _: Normal(0.5), "w ~ N(0, 0.5²)")


@pytest.fixture(autouse=True)
def suite(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Its modules, by their own short names, for one test."""
    before, threads = set(sys.modules), torch.get_num_threads()
    monkeypatch.syspath_prepend(str(SUITE))
    yield
    torch.set_num_threads(threads)
    for name in set(sys.modules) - before:
        if Path(str(getattr(sys.modules[name], "__file__", ""))).parent == SUITE:
            del sys.modules[name]


def module(name: str) -> ModuleType:
    return importlib.import_module(name)


def batches(seed: int):
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(seed))
    return lambda step: (x, (x[:, 0] > 0).long())


def loss(output: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(output, targets)


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def task():
    return module("tasks").Task(
        name="tiny",
        make=model,
        batches=batches,
        optimizer="adam",
        target=0.5,
        steps=30,
        stack=4,
        baseline="none",
        published="none",
        loss=loss,
        rates=(0.03,),
        tuning=(100,),
    )


def kept(folder: Path, **recipes: Recipe):
    starts = {name: module("starts").start_of(task(), name, one) for name, one in recipes.items()}
    return module("store").Store(folder / "tiny.json", starts)


def outcome(start: str, seed: int) -> Outcome:
    return Outcome(member=Member(start, 0.03, seed), steps=12, loss=0.49)


def test_what_is_kept_is_found_again(tmp_path):
    """The suite takes hours, and is stopped and gone on with."""
    kept(tmp_path, small=SMALL).add([outcome("small", 0)])
    assert kept(tmp_path, small=SMALL).get(Member("small", 0.03, 0)) == outcome("small", 0)


def test_two_processes_on_one_task_keep_each_others_trainings(tmp_path):
    """Each writes the whole file, and has read it at its own beginning."""
    one, other = kept(tmp_path, small=SMALL), kept(tmp_path, small=SMALL)
    one.add([outcome("small", 0)])
    other.add([outcome("small", 1)])
    again = kept(tmp_path, small=SMALL)
    assert [again.get(Member("small", 0.03, seed)) is not None for seed in (0, 1)] == [True, True]


def test_a_changed_recipe_has_no_outcomes_of_the_one_before(tmp_path):
    """Else a table would show what steady was."""
    kept(tmp_path, small=SMALL).add([outcome("small", 0)])
    assert kept(tmp_path, small=LARGE).get(Member("small", 0.03, 0)) is None


def test_starts_of_one_plan_are_one_training(tmp_path):
    """A seed draws the same weights whatever the recipe is called."""
    kept(tmp_path, small=SMALL).add([outcome("small", 0)])
    found = kept(tmp_path, same=ALSO_SMALL).get(Member("same", 0.03, 0))
    assert found is not None
    assert found.member.start == "same"


def test_a_race_that_goes_on_trains_nothing_again(tmp_path):
    """And comes to the same tables."""
    trainings = module("trainings")
    starts = {"torch_default": None, "steady": SMALL}
    first = trainings.Race(task(), starts, tmp_path)
    trainings.train(first)

    def none(jobs, keep):
        assert list(jobs) == []

    again = trainings.Race(task(), starts, tmp_path)
    assert again.train(none, trainings._Clock("tiny")).outcomes == first.known().outcomes
    assert again.missing == []


def test_rows_are_sorted_defeats_first(tmp_path):
    """A reader who stops early has read the worst."""
    starts = {"quick": SMALL, "torch_default": None, "steady": LARGE}
    race = module("trainings").Race(task(), starts, tmp_path)
    for name, steps in (("quick", 10), ("torch_default", 25), ("steady", 20)):
        seeds = (*race.settings.tuning_seeds, *race.settings.scoring_seeds)
        race._store.add(
            Outcome(member=Member(name, rate, seed), steps=steps, loss=0.4)
            for rate in (0.01, 0.03, 0.1)
            for seed in seeds
        )
    found = module("pages").rows([race])
    shown = [(row["start"], row["steady's over its"], row["steady is"]) for row in found]
    assert shown == [
        ("quick", "2.00 (2.00..2.00)", "behind"),
        ("torch_default", "0.80 (0.80..0.80)", "ahead"),
    ]


def test_no_task_is_scored_on_seeds_that_anything_was_chosen_by():
    """Neither a rate, nor a rule: else the winner is in part who was lucky there."""
    tasks = module("tasks")
    assert set(tasks.TASKS) >= tasks.CHOSEN_ON
    for one in tasks.TASKS.values():
        assert not set(one.tuning) & {*tasks.SCORING, *tasks.SECOND, *tasks.MORE}
        assert len(one.scoring) == (24 if one.name in tasks.UNSURE else 8)
        assert len(set(one.scoring)) == len(one.scoring)
        assert one.name not in tasks.CHOSEN_ON or not set(one.scoring) & set(tasks.SCORING)


def test_no_module_of_the_suite_hides_one_of_the_other_benchmarks():
    """Both folders are searched when bench/run.py shows the suite; it is never imported itself."""
    ours, others = ({one.stem for one in at.glob("*.py")} for at in (SUITE, SUITE.parent))
    assert ours & others == {"run"}


@pytest.mark.parametrize(
    "page",
    ["docs/explanation/steady.md", "docs/decisions/0014-steady.md"],
    ids=["page", "decision"],
)
def test_every_interval_on_the_page_is_one_of_the_tables(page):
    """A page that is not made by a script goes stale when they are trained again."""
    interval = re.compile(r"\d\.\d\d \(\d\.\d\d\.\.\d\.\d\d\)|at (?:most|least) \d\.\d\d")
    known = {one for table in TABLES for one in interval.findall((SUITE / table).read_text())}
    said = set(interval.findall((ROOT / page).read_text()))
    assert said
    assert not said - known


@pytest.mark.slow
@pytest.mark.parametrize("page", TABLES)
def test_the_page_is_what_the_suite_has_kept(page, monkeypatch):
    """A recipe that changes leaves rows behind that are not its own."""
    made = module("run").made_page if page == "results.md" else module("tried").made_page
    kept_page = (SUITE / page).read_text()
    assert without_machine(made()) == without_machine(kept_page)


def without_machine(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.startswith("Made by"))
