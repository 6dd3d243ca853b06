"""The command line: its words, its exit codes, and that it answers without loading torch."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import fanin
from fanin._cli import _doctor, _main, main

HERE = Path(__file__).parent
TOUR = {"seed": 0, "fast": False, "out": Path("fanin-tour"), "as_json": False}


@pytest.fixture
def asked(monkeypatch):
    """What the tour is asked to do, in place of a tour."""
    import fanin._tour

    calls = []
    monkeypatch.setattr(
        fanin._tour, "tour", lambda names, **options: calls.append((names, options))
    )
    return calls


@pytest.mark.parametrize(
    "command",
    [
        "fanin",
        "fanin plan",
        "fanin explain",
        "fanin audit",
        "fanin compare",
        "fanin checkpoint",
        "fanin verify",
        "fanin tour",
        "fanin doctor",
    ],
)
def test_help_is_the_text_agreed(command, capsys, monkeypatch):
    """A changed option or sentence is changed on purpose, in the golden file too."""
    monkeypatch.setenv("COLUMNS", "200")
    assert main([*command.split()[1:], "--help"]) == 0
    golden = HERE / f"help_{command.replace(' ', '_')}.txt"
    assert capsys.readouterr().out == golden.read_text(encoding="utf-8")


def test_version_is_the_packages(capsys):
    """One place holds it."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"fanin {fanin.__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["plan", "--help"],
        ["explain", "--help"],
        ["audit", "--help"],
        ["compare", "--help"],
        ["checkpoint", "--help"],
        ["verify", "--help"],
        ["compare", "net.py:Net", "--data", "digits", "--budget", "2"],
        ["tour", "--help"],
        ["--version"],
        ["tuor"],
        ["plan"],
        ["tour", "--sed", "x"],
    ],
)
def test_words_alone_do_not_load_torch(arguments):
    """torch takes a second or more; help and typing errors answer at once."""
    code = (
        "import sys; from fanin._cli import main; main(sys.argv[1:]); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'rich')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["tuor"],
        ["tour", "--speed"],
        ["tour", "--seed", "x"],
        ["plan"],
        ["plan", "net.py:Net", "--mode", "trainign"],
        ["explain", "net.py:Net"],
    ],
)
def test_bad_usage_is_exit_code_2_and_says_how_to_use_it(arguments, capsys):
    """As every command line does."""
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith("usage: fanin")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device here")
def test_a_full_disk_is_a_sentence_and_no_traceback():
    """Exit code 2: 1 is a verdict, and what could not be written is none."""
    code = "import sys; from fanin._cli import main; sys.exit(main(['doctor']))"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-u", "-c", code], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 2
    assert b"No space left" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--recipes", "own,kaming"], "use one of: kaiming"),
        (["--recipes", "steady,steady"], "twice"),
        (["--recipes", ","], "no recipe"),
        (["--seed", "-1"], "0 to"),
    ],
)
def test_bad_values_are_exit_code_2_with_the_way_out(arguments, says, capsys, tmp_path):
    """Told before anything is measured; standard output stays empty."""
    assert main(["tour", "--out", str(tmp_path / "made"), *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ")
    assert says in printed.err
    assert printed.out == ""
    assert not (tmp_path / "made").exists()


def test_a_directory_that_cannot_be_made_is_told_at_once(capsys, tmp_path):
    """Not after two minutes of measuring."""
    (tmp_path / "file").write_text("in the way")
    assert main(["tour", "--out", str(tmp_path / "file" / "results")]) == 2
    assert "give --out a directory" in capsys.readouterr().err


def test_the_default_tour_compares_the_models_own_start_with_three_others(asked):
    """The two that everybody names, and what `fanin.initialize` draws."""
    assert main(["tour"]) == 0
    assert asked == [(["own", "kaiming", "xavier", "steady"], TOUR)]


def test_options_reach_the_tour(asked):
    """Each under its own name."""
    words = "tour --fast --seed 7 --out there --recipes own,lecun --json"
    assert main(words.split()) == 0
    assert asked == [
        (["own", "lecun"], {"seed": 7, "fast": True, "out": Path("there"), "as_json": True})
    ]


def test_python_m_fanin_alone_runs_the_fast_tour(asked, monkeypatch):
    """A demonstration without a word to learn."""
    monkeypatch.setattr(sys, "argv", ["fanin"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_module("fanin", run_name="__main__")
    assert stop.value.code == 0
    assert [options["fast"] for _, options in asked] == [True]


def test_ctrl_c_is_exit_code_130_and_a_sentence(monkeypatch, capsys):
    """No traceback: the user knows what they pressed."""
    import fanin._tour

    def interrupted(*_names, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(fanin._tour, "tour", interrupted)
    assert main(["tour"]) == 130
    assert capsys.readouterr().err == "stopped by Ctrl-C; no unfinished file is left\n"


def test_doctor_is_content_with_the_documented_numbers(capsys):
    """Every line that a report of a fault needs."""
    assert main(["doctor"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert {"python", "torch", "numpy", "fanin", "engine", "matplotlib"} <= set(lines)
    assert lines["fanin"] == fanin.__version__
    assert lines["self-check"].startswith("ok")


def test_doctor_finds_wrong_numbers(capsys, monkeypatch):
    """An engine that draws something else must not pass."""
    monkeypatch.setattr(_doctor, "words", lambda: (0, 0, 0, 0))
    assert main(["doctor"]) == 1
    assert "FAILED" in capsys.readouterr().out


def test_doctors_numbers_are_golden():
    """Those of the file that pins the stream, so that the two cannot part."""
    stored = json.loads((HERE / "stream.json").read_text(encoding="utf-8"))
    first = stored["draws"][0]
    assert (first["seed"], first["name"], first["draw"]) == (0, "weight", "bits")
    assert tuple(int(word, 16) for word in first["words"][:4]) == _doctor.GOLDEN_WORDS


def test_ascii_streams_get_likenesses_instead_of_errors():
    """As with LANG=C in an old terminal, or a pipe on Windows."""
    environment = {"PYTHONIOENCODING": "ascii", "PYTHONPATH": str(Path(fanin.__file__).parents[1])}
    code = "from fanin._tour.screen import show; from fanin._tour.story import Block; "
    code += "show([Block('×2 ▁█ 3–4')])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, env=environment
    )
    assert done.stdout.decode("ascii").strip() == "x2 _# 3-4"


def test_a_reader_that_has_gone_is_no_traceback():
    """`fanin doctor | head -1` closes the pipe early; under pipefail 1 would be a verdict."""
    code = (
        "import os, sys; from fanin import _cli; r, w = os.pipe(); os.close(r); os.dup2(w, 1); "
        "code = _cli.main(['doctor']); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-u", "-c", code], capture_output=True, check=False, text=True
    )
    assert (done.returncode, done.stderr) == (2, "")


def test_the_exit_codes_are_those_that_main_documents():
    """Scripts rely on them."""
    assert (_main.DONE, _main.UNHEALTHY, _main.USAGE, _main.INTERRUPTED) == (0, 1, 2, 130)
