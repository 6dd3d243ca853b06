"""What a refusal looks like."""

import pickle
import traceback

import pytest

import fanin
from fanin._errors import nearest


def test_an_error_has_four_beats_and_the_public_name():
    """What, where, what was found, the way out; under the name that users import."""
    with pytest.raises(fanin.FaninError) as caught:
        fanin.Layout((3, 4), "out inn")
    text = "".join(traceback.format_exception_only(caught.value))
    assert text == (
        "fanin.FaninError: an axis has an unknown name\n"
        "  where: Layout((3, 4), 'out inn')\n"
        "  found: 'inn'\n"
        "  fix:   use one of: in, batch, channel, kernel, lookup, out\n"
    )


def test_an_error_survives_the_way_between_processes():
    """Worker processes raise it too."""
    error = fanin.FaninError("what", where="here", found=3, fix="so")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (again.what, again.where, again.found, again.fix) == ("what", "here", "3", "so")
    assert str(again) == str(error)


def test_few_names_are_listed_where_none_is_close():
    """A model has thousands of parameters."""
    assert nearest("zzz", [f"layer{i}" for i in range(1000)]).endswith(" and 980 more")
    assert nearest("zzz", ["b", "a"]) == "a, b"
    assert nearest("weigth", ["weight", "bias"]) == "weight, bias"
