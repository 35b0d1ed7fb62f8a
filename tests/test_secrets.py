"""A secret is in nothing that is printed or written, however it was given and whatever goes wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from conftest import Cli, Finished
from small_pipeline import DIR, inside, install, small, small_calls, steps_run
from when_ml_pipeline_meets_hydra.binding.derived_keys import derived_keys
from when_ml_pipeline_meets_hydra.binding.validation import secret_keys
from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.errors import ExitCode
from when_ml_pipeline_meets_hydra.masking import MASK, Redactor, Unmasked, is_secret_name
from when_ml_pipeline_meets_hydra.pipeline import prepare
from when_ml_pipeline_meets_hydra.records.lookup import find_record

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:small.steps")  # where pytest catches them before us

SECRET = "s3cret-Xy.z+9"
SHORT = "Zq7"


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


def traces(secret: str, done: Finished, folder: Path) -> list[str]:
    """Where the secret can be read: in the output, or in any file below ``folder``."""
    said = [name for name, text in (("stdout", done.out), ("stderr", done.err)) if secret in text]
    found = subprocess.run(["grep", "-rlF", "-e", secret, str(folder)], capture_output=True, text=True, check=False)
    return [*said, *found.stdout.splitlines()]


FORMS = {
    "plain": ["target.login.phrase={}"],
    "quoted": ["target.login.phrase='{}'"],
    "quoted twice": ['target.login.phrase="{}"'],
    "forced": ["++target.login.phrase={}"],
    "of another key": ["target.login.phrase=${{target.hush}}", "target.hush={}"],
    "in another value": ["target.login.phrase={}", "target.name=at_${{target.login.phrase}}"],
    "as a group of keys": ["target.login={{user: bob, phrase: '{}'}}"],
    "as a whole": ["target={{login: {{phrase: '{}'}}, name: x}}"],
    "added": ["~target.login.phrase", "+target.login.phrase={}"],
    "where nothing reads it": ["++cluster.pw={}"],
    "twice": ["target.login.phrase={}", "target.login.phrase=other{}"],
}


@pytest.mark.parametrize("secret", [SECRET, SHORT])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_a_run_tells_nothing(form: list[str], secret: str, tmp_path: Path) -> None:
    """What a step prints is free text, in which a short secret stays."""
    if secret == SHORT and "${" in "".join(form):
        form = [line for line in form if "target.name" not in line]
    mode = "leak" if secret == SECRET else "say"
    done = inside(*DIR, "c=ship", f"target.mode={mode}", *(line.format(secret) for line in form), "--json")
    assert done.code == 0, done.err
    assert traces(secret, done, tmp_path) == []
    assert MASK in done.out


@pytest.mark.parametrize(
    ("mode", "code"), [("refuse", ExitCode.REFUSED), ("raise", ExitCode.STEP_FAILED), ("exit", ExitCode.STEP_FAILED)]
)
def test_a_step_that_fails_tells_nothing(mode: str, code: ExitCode, tmp_path: Path, own_home: Path) -> None:
    done = inside(*DIR, "c=ship", f"target.mode={mode}", f"target.login.phrase={SECRET}")
    assert done.code == code
    assert MASK in done.err
    assert traces(SECRET, done, tmp_path) == []
    if mode == "raise":
        (log,) = own_home.glob("runs/*/logs/ship*.log")
        assert "KeyError: {'phrase': '**********'}" in log.read_text()


def test_a_process_of_its_own_tells_nothing(cli: Cli, tmp_path: Path) -> None:
    done = cli(*DIR, "c=ship", "target.mode=leak", f"target.login.phrase={SECRET}", "knobs.rounds=1,2", "--multirun")
    assert done.code == 0
    assert traces(SECRET, done, tmp_path) == []
    assert f"target.login.phrase={MASK}" in done.out


def test_a_secret_of_the_environment_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMALL_PHRASE", SECRET)
    done = inside(*DIR, "c=ship", "target.mode=leak")
    assert done.code == 0
    assert traces(SECRET, done, tmp_path) == []


def test_a_sweep_over_a_secret_runs_for_each(tmp_path: Path) -> None:
    done = inside(*DIR, "c=ship", f"target.login.phrase={SECRET},{SHORT}", "--multirun")
    assert done.code == 0
    assert steps_run()["ship"] == 2
    assert traces(SECRET, done, tmp_path) == []
    assert traces(SHORT, done, tmp_path) == []


def test_show_secrets_shows_them_on_the_terminal_only(tmp_path: Path, own_home: Path) -> None:
    done = inside(
        *DIR, "c=ship", "target.mode=leak", f"target.login.phrase={SECRET}", "show_secrets=true", "--multirun"
    )
    assert f"target.login.phrase={SECRET}" in done.out
    assert f"<{SECRET}>" in done.out
    assert traces(SECRET, Finished(0, "", ""), tmp_path) == []


SHOWN = {
    "cfg job": ["c=ship", "--cfg", "job"],
    "cfg all": ["c=ship", "--cfg", "all"],
    "cfg hydra": ["c=ship", "--cfg", "hydra"],
    "cfg resolved": ["c=ship", "--cfg", "job", "--resolve"],
    "cfg of a part": ["c=ship", "--cfg", "job", "--resolve", "--package", "target"],
    "cfg of many": ["c=ship", "--cfg", "job", "knobs.rounds=1,2", "--multirun"],
    "info": ["c=ship", "--info"],
    "info config": ["c=ship", "--info", "config"],
    "info defaults": ["c=ship", "--info", "defaults"],
    "help of the stage": ["c=ship", "--help"],
    "plan": ["plan", "c=ship"],
    "plan for machines": ["plan", "c=ship", "--json"],
}


@pytest.mark.parametrize("words", SHOWN.values(), ids=SHOWN.keys())
def test_what_only_shows_tells_nothing(words: list[str], tmp_path: Path) -> None:
    verb, *rest = words
    given = [f"target.login.phrase={SECRET}", "target.name=at_${target.login.phrase}", *DIR]
    done = inside(verb, *given, *rest)
    assert done.code == 0, done.err
    assert traces(SECRET, done, tmp_path) == []


WRONG = {
    "another value": ["target.login.phrase={}", "knobs.rate=7"],
    "itself, of a wrong type": ["target.login.phrase=[{}]"],
    "itself, as a group": ["target.login.phrase={{a: '{}'}}"],
    "itself, as a group that is forced": ["++target.login.phrase={{a: '{}'}}"],
    "a misspelt key": ["target.login.phras={}"],
    "a misspelt key that is forced": ["++target.login.phras={}"],
    "a misspelt key in a group": ["target={{login: {{phras: '{}'}}}}"],
    "a misspelt key in a group that is forced": ["++target={{login: {{phras: '{}'}}}}"],
    "a value for a group": ["target.login={}"],
    "a list for a group": ["target.login=[{}]"],
    "a value for a group of groups": ["target={}"],
    "the grammar": ["target.login.phrase={}:{{x"],
    "a sweep without multirun": ["target.login.phrase={},b"],
    "a value that takes it over": ["target.login.phrase={}", "knobs.rounds=${{target.login.phrase}}"],
    "an item that takes it over": ["target.login.phrase={}", "source.numbers=[1,'${{target.login.phrase}}']"],
    "a text that takes it over": ["target.login.phrase={}", "target.mode=x${{target.login.phrase}}x"],
    "a target that takes it over": ["target.login.phrase={}", "+knobs._target_=a.${{target.login.phrase}}"],
    "a key that is there": ["+target.login.phrase={}"],
    "a file that takes it over": [
        "target.login.phrase={}",
        "gather/source=file",
        "source.path=${{target.login.phrase}}",
    ],
}


@pytest.mark.parametrize("form", WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_said_without_it(form: list[str], tmp_path: Path) -> None:
    given = [line.format(SECRET) for line in form]
    done = inside(*DIR, "c=ship", *given)
    assert done.code == ExitCode.BAD_INPUT
    assert steps_run() == {}
    assert traces(SECRET, done, tmp_path) == []
    for how in (["--help"], ["--cfg", "job", "--resolve"]):
        done = inside(*DIR, "c=ship", *given, *how)
        assert "Unexpected" not in done.err
        assert traces(SECRET, done, tmp_path) == []


def test_a_flag_that_does_not_exist_is_named_without_its_value(tmp_path: Path) -> None:
    done = inside(*DIR, "c=ship", f"--password={SECRET}")
    assert done.code == ExitCode.BAD_INPUT
    assert "--password" in done.err
    assert traces(SECRET, done, tmp_path) == []


def test_what_an_option_finds_in_its_data_is_said_without_it(tmp_path: Path) -> None:
    file = tmp_path.parent / f"{tmp_path.name}-numbers.txt"
    file.write_text(f"1\n{SECRET}\n")
    words = ["gather/source=file", f"source.path={file}", f"target.login.phrase={SECRET}"]
    done = inside(*DIR, "c=ship", *words)
    assert done.code == ExitCode.BAD_INPUT
    assert "line 2 is no whole number: **********" in done.err
    assert traces(SECRET, done, tmp_path) == []


def test_an_unexpected_error_of_the_program_tells_nothing(tmp_path: Path, own_home: Path) -> None:
    code = (
        "import sys; from when_ml_pipeline_meets_hydra import cli, pipeline\n"
        "def broken(request): raise RuntimeError(f'broken by {request.overrides}')\n"
        "pipeline.compose = broken\n"
        "sys.exit(cli.main(sys.argv[1:]))\n"
    )
    words = [f"target.login.phrase={SECRET}", f"++cluster.pw='{SHORT}'", "c=ship", *DIR]
    ran = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    done = Finished(ran.returncode, ran.stdout, ran.stderr)
    assert done.code == 1
    assert "Unexpected RuntimeError" in done.err
    (kept,) = own_home.glob("errors/*.txt")
    assert "broken by" in kept.read_text()
    assert traces(SECRET, done, tmp_path) == []
    assert traces(SHORT, done, tmp_path) == []


def test_the_inputs_of_a_stored_step_tell_nothing(own_home: Path, tmp_path: Path) -> None:
    """Also where a value that counts takes a secret over: a short digest stands for it."""
    words = ["c=fit", f"target.login.phrase={SECRET}", "++source={}"]
    done = inside(*DIR, *words[:2], "model_name=${target.login.phrase}")
    assert done.code == 0
    assert traces(SECRET, done, tmp_path) == []
    ((_, call),) = small_calls("c=ship", f"target.hush={SECRET}", "target.name=is_${target.hush}").calls
    assert call.keyed["target"]["name"].startswith("is_<secret ")
    assert SECRET not in json.dumps(call.keyed)


@pytest.mark.parametrize(
    "key",
    [
        "pw",
        "cluster.pw",
        "db.passwd",
        "a.b.password",
        "api_key",
        "apikey",
        "aws_secret_access_key",
        "TOKEN",
        "x.auth-token",
    ],
)
def test_names_that_are_secret_whatever_their_type(key: str) -> None:
    assert is_secret_name(key)


@pytest.mark.parametrize("key", ["power", "n_tokens", "key", "passes", "model.pw_model", "password.length"])
def test_names_that_are_not(key: str) -> None:
    assert not is_secret_name(key)


def test_a_short_or_common_secret_stays_in_free_text() -> None:
    masks = Redactor(["ab", "longer-secret", "diabetes", "password", "correcthorse"], words=["diabetes"])
    text = "ab cab diabetes password xlonger-secretx correcthorse"
    assert masks.text(text) == f"ab cab diabetes password x{MASK}x {MASK}"
    masks = Redactor(["ab", "password"], names=["pw"])
    text = """pw: ab, 'pw': 'ab', {"pw": "password"}, pw=abc, upw: ab, password, ab"""
    assert masks.text(text) == f"""pw: {MASK}, 'pw': '{MASK}', {{"pw": "{MASK}"}}, pw=abc, upw: ab, password, ab"""


def test_a_secret_that_contains_another_one_is_masked_whole() -> None:
    assert Redactor(["password-1", "password-12"]).text("password-12 password-1") == f"{MASK} {MASK}"


def test_secrets_inside_of_containers_are_found() -> None:
    @frozen
    class Login:
        user: str
        key: SecretStr

    hints = {"many": tuple[Login, ...], "named": dict[str, Login], "maybe": Login | None, "all": dict[str, SecretStr]}
    login = {"user": "u", "key": "k", "kee": "x"}
    data = {"many": [login], "named": {"bob": login}, "maybe": login, "all": {"a": "b"}}
    found = {k for name, hint in hints.items() for k in secret_keys(hint, name, data[name])}
    nested = {f"{place}.{name}" for place in ("many", "named.bob", "maybe") for name in ("key", "kee")}
    assert found == {*nested, "all"}


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("+a={pw: x, n: 1}", f"+a={{pw: {MASK}, n: 1}}"),
        ("a={b: {token:'x, y'}, n: 1}", f"a={{b: {{token:{MASK}}}, n: 1}}"),
        ('a=[{api_key: "q\\"r"}]', f"a=[{{api_key: {MASK}}}]"),
        ("m.b={c: {d: e, f: g}}", f"m.b={{c: {{d: {MASK}, f: g}}}}"),
        ("url=http://host:80/path", "url=http://host:80/path"),
        ("url=postgres://host/x?user=a&Password=b:c#d", f"url=postgres://host/x?user=a&Password={MASK}#d"),
        ("~a", "~a"),
    ],
)
def test_a_secret_inside_of_an_override_is_masked(line: str, shown: str) -> None:
    assert Redactor().override(line, {"m.b.c.d"}) == shown


def test_a_long_override_is_looked_through_once() -> None:
    """Words of all lengths from all places would be so many that this never ends."""
    for line in ("a=" + "x" * 1_000_000, "a={pw: b, n: " + "x" * 1_000_000 + "}"):
        assert Redactor().override(line) == line.replace("pw: b", f"pw: {MASK}")


def test_a_secret_that_was_taken_back_is_masked_as_well(own_home: Path) -> None:
    done = inside("c=preprocessing", "+extra={token: hunter2-hunter2}", "~extra")
    assert done.code == 0, done.err
    assert "hunter2" not in done.out + done.err
    assert not [file for file in own_home.rglob("*") if file.is_file() and b"hunter2" in file.read_bytes()]


def test_unmasked_shows_what_there_is() -> None:
    assert Unmasked().override("cluster.pw=x") == "cluster.pw=x"
    assert Unmasked().text("x") == "x"


def test_a_tree_is_masked_by_key_and_where_a_secret_is_taken_over() -> None:
    tree = {
        "pw": "x",
        "name": "hunter22",
        "deep": [{"token": 5, "note": "is hunter22"}],
        "other": None,
        "secret": "???",
    }
    assert Redactor(["hunter22"], derived=["deep.note"]).tree(tree) == {
        "pw": MASK,
        "name": "hunter22",
        "deep": [{"token": MASK, "note": f"is {MASK}"}],
        "other": None,
        "secret": "???",
    }
    assert Redactor(["hunter22"]).tree(tree, free=True)["name"] == MASK


def test_other_spellings_of_a_secret_are_masked_and_words_are_not() -> None:
    secret = "Anna/Karenina+1&x"
    masks = Redactor([secret, "Gradient_Boosting"], words=["gradient_boosting"])
    url = quote(secret, safe="")
    for text in (
        secret.upper(),
        secret.lower(),
        secret.encode().hex(),
        secret.encode().hex().upper(),
        url,
        url.lower(),
    ):
        assert masks.text(f"<{text}>") == f"<{MASK}>", text
    assert masks.text("gradient_boosting") == "gradient_boosting"


LETTERS = st.text("ab. -_$()[]é0", min_size=1, max_size=12)


@settings(deadline=None)
@given(st.lists(LETTERS, max_size=4), LETTERS)
def test_no_long_secret_survives(secrets: list[str], text: str) -> None:
    masked = Redactor(secrets).text(text.join(secrets) + text)
    assert not any(len(s) >= 8 and s in masked.replace(MASK, "\0") for s in secrets if "*" not in s)


@settings(deadline=None, max_examples=5)  # a mark is slow on purpose
@given(LETTERS)
def test_marks_are_the_same_for_the_same_secret_only(secret: str) -> None:
    masks = [Redactor([secret, other], derived=["a"]) for other in ("one", "another")]
    marked = [m.fingerprinted("a.b", f"at {secret}") for m in masks]
    assert marked[0] == marked[1]
    assert marked[0].count("<secret ") >= 1
    assert masks[0].fingerprinted("b", f"at {secret}") == f"at {secret}"


CONFIG = {
    "target": {"phrase": "x", "name": "at_${target.phrase}", "near": "${.phrase}", "list": ["${target.phrase}"]},
    "copy": "${target}",
    "from_copy": "${copy.name}",
    "by_resolver": "${oc.decode:'${oc.env:HUSH}'}",
    "by_select": "${oc.select:target.phrase,no}",
    "hush": {"token": "${oc.env:HUSH}"},
    "unknown": "${target.${which}}",
    "which": "name",
    "same": "x",
    "other": "${same}_${which}",
    "variable": "${oc.env:OTHER}",
}


def test_keys_that_take_a_secret_over_are_found() -> None:
    found = set(derived_keys(CONFIG, {"target.phrase"}))
    named = {"target.name", "target.near", "target.list", "copy", "from_copy", "by_resolver", "by_select", "unknown"}
    assert found == named


def test_a_value_that_equals_a_secret_stays_where_it_is(own_home: Path) -> None:
    """An unrelated ``pw`` that is called as the data set changes neither configs nor keys nor output."""
    words = ("c=preprocessing", "c/preprocessing_sub=foo")
    plain = prepare(["c=preprocessing"])
    named = prepare(["c=preprocessing", "+globals.pw=cars"])
    assert [step.key for step in plain.plan.steps] == [step.key for step in named.plan.steps]
    done = inside(*words, "+globals.pw=cars")
    assert "cars" in done.out
    record = find_record(own_home, "last")
    assert record.config(0)["dataset"]["name"] == "cars"
    assert record.config(0)["globals"]["pw"] == MASK
    assert f"+globals.pw={MASK}" in record.head["overrides"]


def test_runs_of_the_api_mask_as_well(tmp_path: Path) -> None:
    done = small("c=ship", "target.mode=raise", f"target.login.phrase={SECRET}")
    error = done.outcomes[-1].error or ""
    assert error == f"ValueError: no entry with {MASK}"
    assert SECRET not in json.dumps(done.record.content)
    assert SECRET not in repr(done.outcomes[-1].step.call)
