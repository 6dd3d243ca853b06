"""What people read of a plan: the table, the explanations, the differences, the errors, the file.

To change a text on purpose: run this file (``python -m tests.golden.test_plan_text``), read the
difference, and commit it with its reason.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from math import sqrt
from pathlib import Path

import pytest
import torch
from torch import nn

from fanin import Block, FaninError, Layout
from fanin._plan import Plan, Receipt, Stamp, plan_from_sites
from fanin._site import Residual, Site
from fanin.initializers import Normal, Orthogonal, Zeros, kaiming_normal, lecun_normal
from fanin.recipes import Choice, Keep, Recipe

HERE = Path(__file__).parent / "plan"
LAYERS = 32
WIDTH = 64


def _site(name: str, out: int, into: int, **fields: object) -> Site:
    return Site(name=name, layout=Layout((out, into), "out in"), module="Linear", **fields)  # type: ignore[arg-type]


def _layer(index: int) -> list[Site]:
    path = f"layers.{index}"
    place = Residual(stream=0, index=2 * index + 2, count=2 * LAYERS, norm="pre")
    fused = Layout((192, WIDTH), "out in", blocks=tuple(Block(b, WIDTH) for b in ("q", "k", "v")))
    qkv = f"{path}.attention.qkv.weight"
    return [
        Site(name=f"{path}.norm.weight", layout=None, role="norm_scale", built="ones"),
        Site(
            name=qkv, layout=fused, role="query_key_value", module="Linear", normalized_input=True
        ),
        _site(f"{path}.up.weight", 256, WIDTH, normalized_input=True, sources=(qkv,)),
        replace(
            _site(f"{path}.down.weight", WIDTH, 256, role="residual_out", activation="gelu"),
            residual=place,
            sources=(f"{path}.up.weight",),
        ),
        Site(
            name=f"{path}.down.bias", layout=Layout((WIDTH,), "out"), role="bias", module="Linear"
        ),
    ]


def _sites() -> list[Site]:
    table = Layout((1000, WIDTH), "lookup out", operation="lookup")
    return [
        Site(
            name="embed.weight",
            layout=table,
            role="embedding",
            module="Embedding",
            tied=("head.weight",),
            other_roles=("readout",),
        ),
        Site(name="cls", layout=None, role="elementwise", built="not finite", ran_in="never"),
        *(site for index in range(LAYERS) for site in _layer(index)),
        Site(
            name="last.weight",
            layout=Layout((WIDTH, WIDTH), "out in"),
            stored=("last.weight_v", "last.weight_g"),
            uses=3,
        ),
        Site(name="angles", layout=None, role="buffer", module="Rotary"),
    ]


def _choose(site: Site) -> Choice | None:
    if site.role == "residual_out" and site.residual is not None:
        shrunk = kaiming_normal("gelu") * (1 / sqrt(site.residual.count))
        return Choice(shrunk, "All branches together add as much as one.", "Radford et al. 2019")
    if site.role == "embedding":
        return Choice(Normal(0.02), "A row is looked up, not summed.")
    if site.role == "bias":
        return Choice(Zeros, "A bias breaks no symmetry.")
    if site.name == "last.weight":
        return Choice(Orthogonal("relu"), "It is to be measured.", target_std=1.0)
    if site.role == "elementwise":
        return None
    return Choice(lecun_normal(), "Its input is normalized, so the signal keeps its size.")


RECIPE = Recipe(
    "example", _choose, "std = gain / sqrt(fan_in)", no_rule="It has no rule for what has no fans."
)
PLAN = plan_from_sites(
    _sites(), RECIPE, model="Example", mode="evaluation", batch="tokens int64 2x16"
)
PLAN = replace(
    PLAN, entries=(replace(PLAN.entries[0], padding_row=0), *PLAN.entries[1:]), receipt=None
)
CHANGED = PLAN.scaled({"last.weight": 0.5}, measured={"last.weight": 2.0}).replace(
    {"cls": 0, "*.down.weight": Normal(0.01, cut=3), "embed.weight": Keep("loaded from a file")}
)
NET = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
SMALL = plan_from_sites(
    [
        *(_site(f"{i}.weight", 3 - i, 4 - i) for i in range(2)),
        *(Site(name=f"{i}.bias", layout=Layout((3 - i,), "out"), role="bias") for i in range(2)),
    ],
    RECIPE,
)

TEXTS: dict[str, dict[str, Callable[[], object]]] = {
    "print.txt": {
        "a model of 32 layers": lambda: PLAN,
        "its repr": lambda: repr(PLAN),
        "the same, changed": lambda: CHANGED,
        "a small one without a model": lambda: SMALL,
        "an empty one": lambda: Plan(()),
    },
    "explain.txt": {
        name: lambda name=name: PLAN.explain(name)  # type: ignore[misc]
        for name in (
            "head.weight",
            "cls",
            "layers.3.attention.qkv.weight",
            "layers.3.down.weight",
            "layers.3.down.bias",
            "layers.3.norm.weight",
            "last.weight",
            "angles",
        )
    }
    | {
        "calibrated": lambda: CHANGED.explain("last.weight"),
        "by a rule": lambda: CHANGED.explain("layers.3.down.weight"),
    },
    "difference.txt": {
        "none": lambda: PLAN.diff(PLAN),
        "changed": lambda: PLAN.diff(CHANGED),
        "another model": lambda: SMALL.diff(
            plan_from_sites([_site("0.weight", 3, 4), _site("2.weight", 3, 4)], RECIPE)
        ),
    },
    "receipt.txt": {
        "filled": lambda: Receipt(
            7,
            "0.1.0",
            "2.13.0",
            "a1b2c3d4e5f60718",
            (Stamp("a", "filled", "0f1e2d3c"), Stamp("b", "kept", "00000000")),
        ),
        "on meta": lambda: Receipt(
            None, "0.1.0", "2.13.0", "a1b2c3d4e5f60718", (Stamp("a", "not drawn", None),)
        ),
        "as JSON": lambda: Receipt(
            7, "0.1.0", "2.13.0", "a1b2c3d4e5f60718", (Stamp("a", "filled", "0f1e2d3c"),)
        ).to_json(),
        "coverage": PLAN.coverage,
    },
}

ERRORS: dict[str, Callable[[], object]] = {
    "a misspelt parameter": lambda: PLAN["layers.3.dwon.weight"],
    "a misspelt rule": lambda: PLAN.replace({"*.dwon.weight": 0}),
    "a rule that comes too late": lambda: PLAN.replace({"*": 0, "cls": 1}),
    "a misspelt role": lambda: PLAN.replace({"role:residual": 0}),
    "a role that is the second": lambda: PLAN.replace({"role:readout": 0}),
    "a buffer by a glob": lambda: PLAN.replace({"ang*": 0}),
    "two names of one tensor": lambda: PLAN.replace({"head.weight": 0, "embed.weight": Normal(1)}),
    "a start that does not fit": lambda: PLAN.replace({"layers.*.bias": Orthogonal()}),
    "unclaimed": lambda: PLAN.apply(NET, seed=0),
    "not calibrated": lambda: PLAN.replace({"cls": 0}).apply(NET, seed=0),
    "another model": lambda: SMALL.apply(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), seed=0),
    "more in the model": lambda: SMALL.apply(nn.Sequential(*NET, nn.Linear(2, 2)), seed=0),
    "another shape": lambda: SMALL.apply(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 1)), seed=0),
    "code in a file": lambda: SMALL.replace({"0.bias": lambda tensor, layout: None}).to_json(),
    "a later version": lambda: Plan.from_json('{"format": "fanin plan", "version": 9}'),
    "no plan": lambda: Plan.from_json("{}"),
    "an unknown module": lambda: SMALL.param_init("00", seed=0),
    "scaling what is kept": lambda: PLAN.scaled({"angles": 2.0}),
}


def _error(call: Callable[[], object]) -> FaninError:
    try:
        call()
    except FaninError as error:
        return error
    raise AssertionError("this call was to be refused")


def _written() -> dict[str, str]:
    sections = TEXTS | {
        "errors.txt": {name: lambda c=call: _error(c) for name, call in ERRORS.items()}
    }  # type: ignore[misc]
    texts = {
        file: "\n".join(f"[{title}]\n{make()}\n" for title, make in section.items())
        for file, section in sections.items()
    }
    return texts | {"plan.html": PLAN._repr_html_() + "\n"}


@pytest.mark.parametrize("file", [*TEXTS, "errors.txt", "plan.html"])
def test_the_text_is_as_written(file):
    """What a user reads changes only on purpose; equal plans give equal bytes."""
    assert _written()[file] == (HERE / file).read_text(encoding="utf-8")


def test_a_plan_of_32_layers_fits_a_screen():
    """50 lines of 100 columns, also where every layer has another number."""

    def by_depth(site: Site) -> Choice | None:
        choice = _choose(site)
        depth = int(re.sub(r"\D", "", site.name) or 0) + 1
        why = f"Layer {depth} of {LAYERS}."
        return choice and replace(choice, initializer=choice.initializer * (1 / depth), why=why)

    for plan in (PLAN, CHANGED, plan_from_sites(_sites(), by_depth, model="Example")):
        lines = str(plan).splitlines()
        assert len(lines) <= 50
        assert max(map(len, lines)) <= 100


def test_the_counts_of_the_lines_add_up():
    """Folding names hides none of them."""
    text = str(PLAN)
    counts = [int(n) for n in re.findall(r"^(?:\S+ +| +)(\d+)  ", text, flags=re.MULTILINE)]
    assert sum(counts) == len(PLAN)


def test_every_error_has_four_beats_in_four_lines():
    """What, where, what was found, the way out."""
    for call in ERRORS.values():
        lines = str(_error(call)).splitlines()
        assert [line[:9] for line in lines[1:]] == ["  where: ", "  found: ", "  fix:   "]


class _Tags(HTMLParser):
    """All tags and attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.update(name for name, _ in attrs)


def test_the_page_brings_no_code_and_no_style_for_others():
    """In a notebook it must not change the rest; names are the user's, and may be anything."""
    evil = Site(name="</td><script>alert(1)</script>", layout=Layout((2, 2), "out in"))
    page = plan_from_sites([evil], lambda site: Normal(1), model="<b>")._repr_html_()
    parser = _Tags()
    parser.feed(page)
    allowed = {"div", "table", "thead", "tbody", "tr", "th", "td", "details", "summary"}
    assert set(parser.tags) <= allowed
    assert parser.attributes <= {"style"}
    assert "http" not in page
    assert "url(" not in page


def test_a_plan_that_was_saved_by_this_version_is_read_for_ever():
    """The file is checked in: a change of the format needs a new version number."""
    loaded = Plan.load(HERE / "version-1.json")
    assert loaded == SMALL_AND_SCALED
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    receipt = loaded.apply(model, seed=0)
    assert receipt.plan == "a55e3fca2c09cfcf"
    assert torch.equal(model[0].bias, torch.zeros(3))


SMALL_AND_SCALED = SMALL.scaled({"1.weight": (0.5, 2.0)}, measured={"1.weight": 1.5})


if __name__ == "__main__":
    for file, text in _written().items():
        (HERE / file).write_text(text, encoding="utf-8")
