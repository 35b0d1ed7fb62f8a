"""The scenarios of the template of 2019: the same commands print the same blocks, in the same order."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from small_pipeline import EXAMPLES, inside

SCENARIOS = {"first_taste": "pw_1", "other_cluster": "pw_3", "fixed_password": "pw_2"}
MASK = "**********"


def command(name: str) -> list[str]:
    return (EXAMPLES / "template" / f"{name}.args").read_text().split()


def expected(name: str) -> str:
    return (EXAMPLES / "template" / f"{name}.out").read_text()


def printed(out: str) -> str:
    """The output without the name of the run."""
    return re.sub(r"(?m)^(Sweep output dir : ).*/runs/[\d-]+$", r"\1SWEEP", out)


@pytest.mark.parametrize(("name", "password"), SCENARIOS.items())
def test_a_scenario_prints_its_blocks_and_masks_the_password(name: str, password: str) -> None:
    code, out, err = inside(*command(name))
    assert code == 0
    masked = (
        expected(name).replace(f'"{password}"', f'"{MASK}"').replace(f"cluster.pw={password}", f"cluster.pw={MASK}")
    )
    assert printed(out) == masked
    assert password not in out + err


@pytest.mark.parametrize(("name", "password"), SCENARIOS.items())
def test_show_secrets_shows_the_password(name: str, password: str) -> None:
    code, out, _ = inside(*command(name), "show_secrets=true")
    assert code == 0
    assert printed(out).replace(" show_secrets=true", "") == expected(name)
    assert f'"pw": "{password}"' in out


def test_show_secrets_shows_nothing_in_files(own_home: Path) -> None:
    inside(*command("fixed_password"), "show_secrets=true")
    written = [f.read_bytes() for f in own_home.rglob("*") if f.is_file()]
    assert written
    assert not any(b"pw_2" in content for content in written)


@pytest.mark.parametrize("stage", ["preprocessing", "modeling", "deployment"])
def test_bar_is_another_subcommand(stage: str) -> None:
    words = [w.replace("=foo", "=bar") for w in command("first_taste") if not w.startswith(("c=", "--"))]
    code, out, _ = inside(*words, f"c={stage}")
    assert code == 0
    assert out.startswith(f"========== Run {stage}'s 'bar' subcommand ==========\n")
    assert out.endswith("}\nDo something here!\n")


def test_every_option_of_the_template_prints_itself() -> None:
    for number in (1, 2):
        chosen = [
            *(f"preprocessing/{group}={group}_{number}" for group in ("dataset", "param")),
            *(f"modeling/{group}={group}_{number}" for group in ("model", "param")),
            f"deployment/cluster=cluster_{number}",
        ]
        foos = [f"c/{stage}_sub=foo" for stage in ("preprocessing", "modeling", "deployment")]
        code, out, _ = inside(*chosen, *foos, "c=preprocessing,modeling,deployment", "--multirun")
        assert code == 0
        names = re.findall(r'"name": "(\w+)"', out)
        assert names == [f"{n}_{number}" for n in ("dataset", "param", "model", "param", "cluster")]


@pytest.mark.parametrize("words", [[], ["c=help"]])
def test_help_says_the_line_of_the_template_and_what_is_next(words: list[str]) -> None:
    code, out, err = inside(*words)
    assert (code, err) == (0, "")
    stages = ["preprocessing", "validation", "modeling", "intervals", "prediction", "analysis"]
    stages += ["exptests", "deployment"]
    assert out.splitlines()[0] == f"This app has {[*stages, 'help']} commands"
    assert "or several at once, such as c=preprocessing,deployment --multirun." in out
    assert "--help" in out


@pytest.mark.parametrize(
    ("stage", "shown"), [("preprocessing", '"target": "Miles_per_Gallon"'), ("modeling", '"loss":')]
)
def test_foo_prints_real_options_as_well(stage: str, shown: str) -> None:
    done = inside(f"c={stage}", f"c/{stage}_sub=foo")
    assert (done.code, shown in done.out) == (0, True), done.err
