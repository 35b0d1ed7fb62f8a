"""The life of an entry by the ``config`` commands: import, edit, review, publish, migrate, revert, export."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from config_stores import customers, stored
from small_pipeline import DIR, forget, inside, install, write
from when_ml_pipeline_meets_hydra.config_store.store import ConfigStore
from when_ml_pipeline_meets_hydra.errors import Refused

USER = "WMH_CONFIG_USER"
KNOBS = "fit/knobs"


@pytest.fixture(autouse=True)
def _pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    monkeypatch.setenv(USER, "ann")


def config(*words: str, user: str = "ann", code: int = 0) -> str:
    """What a ``config`` command prints, with both streams."""
    done = inside("config", *words, env={USER: user})
    assert done.code == code, done.out + done.err
    return done.out + done.err


def as_json(*words: str) -> Any:
    """What a ``config`` command says to machines."""
    done = inside("config", *words, "--json")
    assert done.code == 0, done.out + done.err
    return json.loads(done.out)


def accept(*words: str) -> None:
    """Publish the draft of a command without a check of all combinations, which takes a second."""
    ConfigStore("configs.db", "ann").publish(int(as_json(*words)["draft"]), lambda _: None)


def published() -> int:
    return int(as_json("history")[0]["number"])


def assert_plain_hydra_composes_the_same(folder: str, count: int) -> None:
    """For all customers, by Hydra alone: from the exported folder, and from the store by its config source."""
    Path("app").mkdir()
    Path("app/config.yaml").write_text(f"defaults:\n- {KNOBS}: default\n- _self_\n")
    paths = (f"file://{Path(folder).absolute()}", f"configs://{Path('configs.db').absolute()}")
    with initialize_config_dir(str(Path("app").absolute()), version_base="1.3"):
        for name in ("default", *(f"customer_{n:03}" for n in range(count))):
            texts = [
                OmegaConf.to_yaml(compose("config", [f"{KNOBS}={name}", f"hydra.searchpath=[{p}]"])) for p in paths
            ]
            assert texts[0] == texts[1]
            assert "rounds: " in texts[0]


@pytest.mark.parametrize("count", [9, pytest.param(100, marks=pytest.mark.integration())])
def test_one_default_and_many_customers(count: int) -> None:
    texts = customers(count)
    folder = write(Path("conf"), {f"{path}.yaml": text for path, text in texts.items()})
    assert "revision 1 is published" in config("import", folder, "--publish", *DIR)
    # What is stored of a customer are its differences.
    with sqlite3.connect("configs.db") as database:
        kept = dict(database.execute("SELECT path, text FROM entries"))
    assert kept == texts
    assert f"nothing to import: the store has the {count + 1} entries" in config("import", folder)

    rows = as_json("list", f"{KNOBS}/customer_00[0-8]")
    assert [row["entry"] for row in rows] == [f"{KNOBS}/customer_00{n}" for n in range(9)]
    assert rows[0] | {"published": ""} == {
        "entry": f"{KNOBS}/customer_000",
        "revision": 1,
        "author": "ann",
        "published": "",
        "includes": [f"{KNOBS}/default"],
        "description": "Customer 0",
    }
    assert len(as_json("list", "--uses", f"{KNOBS}/default")) == count
    values = as_json("show", f"{KNOBS}/customer_000", "--effective", *DIR)
    assert {v["key"]: (v["value"], v["origin"]) for v in values} == {
        "knobs.rate": (0.25, f"config store: {KNOBS}/customer_000, revision 1, line 6"),
        "knobs.rounds": (10, f"config store: {KNOBS}/default, revision 1, line 4"),
        "knobs.shape": ("line", f"config store: {KNOBS}/default, revision 1, line 5"),
        "knobs.strict": (False, f"config store: {KNOBS}/default, revision 1, line 6"),
    }

    # A change of the default reaches exactly those that do not override it.
    config("edit", f"{KNOBS}/default", "--set", "knobs.rounds=30", *DIR)
    evidence = as_json("review", "2", *DIR, "--plan", "c=fit")
    overriding = {f"{KNOBS}/customer_{n:03}" for n in range(count) if n % 3 == 1}
    assert set(evidence["unreached"]) == overriding
    assert evidence["reached"].keys() == {*texts} - overriding
    assert evidence["reached"][f"{KNOBS}/customer_000"] == [{"key": "knobs.rounds", "before": 10, "after": 30}]
    assert evidence["problems"] == []
    assert sum(evidence["plan"].values()) == 3  # the numbers, and two different fits
    if count == 100:
        shown = config("review", "2", *DIR)
        assert "it reaches 68 of 101 entries that use what it changes" in shown
        assert "-rounds: 10\n+rounds: 30" in shown
        assert "  knobs.rounds 10 → 30" in shown
    config("publish", "2", *DIR)
    assert config("diff", "1", "--effective", *DIR).splitlines() == sorted(
        f"{path}: knobs.rounds 10 → 30" for path in evidence["reached"]
    )

    # Plain Hydra composes the same of the exported folder, and an import of it changes nothing.
    assert f"{count + 1} entries are in out: {count + 1} written, 0 deleted" in config("export", "out")
    assert f"{count + 1} entries are in out: 0 written" in config("export", "out")
    assert {f.relative_to("out").with_suffix("").as_posix(): f.read_text() for f in Path("out").rglob("*.yaml")} == {
        **texts,
        f"{KNOBS}/default": texts[f"{KNOBS}/default"].replace("rounds: 10", "rounds: 30"),
    }
    assert "nothing to import" in config("import", "out")
    assert_plain_hydra_composes_the_same("out", count)


def test_what_would_not_compose_is_not_published() -> None:
    stored("configs.db", customers(4))
    wrong = "# @package knobs\ndefaults:\n- default\n- _self_\nrounds: many\nrates: 0.1\n"
    Path("wrong.yaml").write_text(wrong)
    shown = config("edit", f"{KNOBS}/customer_000", "--file", "wrong.yaml", "--publish", *DIR, code=2)
    assert "draft 2 is open" in shown
    assert f"from config store: {KNOBS}/customer_000, draft 2, line 5" in shown
    assert f"from config store: {KNOBS}/customer_000, draft 2, line 6" in shown
    assert "Did you mean 'knobs.rate'?" in shown
    assert published() == 1
    # Also where a default that others use is wrong, or gone.
    values = ("--set", "knobs.rate=7", "--set", "knobs.strict='no way'")  # False is a truth value, or refused
    shown = config("edit", f"{KNOBS}/default", *values, "--publish", *DIR, code=2)
    assert "knobs.rate=7" in shown
    assert "knobs.strict" in shown
    config("edit", f"{KNOBS}/default", "--remove", *DIR)
    assert "problem: fit/knobs" in (shown := config("review", "4", *DIR, code=2))
    assert "its defaults list names fit/knobs=default" in shown
    config("edit", f"{KNOBS}/default", "--set", "knobs.strict=False", "--set", "knobs.rate=0.1", "--publish", *DIR)
    assert [v["value"] for v in as_json("show", f"{KNOBS}/customer_002", "--effective", *DIR)] == [
        0.1,
        10,
        "line",
        False,
    ]
    # An option of the program's own, and of Hydra's.
    assert "comes first" in config(
        "edit", "modeling/param/small", "--set", "m_param.n_estimators=3", "--publish", code=2
    )
    assert "stay in files" in config("edit", "hydra/launcher/mine", "--set", "a=1", code=2)


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/../../b", ".hidden/x", "a//b", "a\nb/c", "x" * 500])
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    Path("text.yaml").write_text("a: 1\n")
    assert "expected GROUP/NAME" in config("edit", name, "--file", "text.yaml", code=2)
    assert not Path("configs.db").exists()


def test_texts_that_are_no_option_files_are_refused() -> None:
    bomb = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 10)}]\n" for n in range(6)
    )
    for text, message in (("a: [1\n", "cannot be read"), ("- a\n", "expected keys"), (bomb, "more than 30000 values")):
        Path("text.yaml").write_text(text)
        assert message in config("edit", "group/name", "--file", "text.yaml", code=2)
    assert not Path("configs.db").exists()


def test_secrets_are_refused_and_reach_no_file(tmp_path: Path) -> None:
    stored("configs.db", customers(1))
    secrets = {
        "deployment/cluster/mine": "# @package cluster\n_target_: x\npw: hunter22-by-name\n",
        "ship/target/mine": "# @package target\nlogin: {user: ada, phrase: hunter22-by-type}\n",
        "preprocessing/dataset/mine": "# @package dataset\nurl: postgres://me:hunter22-in-url@host/x\n",
        "preprocessing/dataset/other": "# @package dataset\nurl: postgres://host/x?user=me&password=hunter22-in-it\n",
    }
    for path, text in secrets.items():
        Path("text.yaml").write_text(text)
        shown = config("edit", path, "--file", "text.yaml", *DIR, code=2)
        assert "a secret is never kept in a config store" in shown
        assert "${oc.env:" in shown
        assert "hunter22" not in shown
    Path("text.yaml").unlink()
    assert not [f for f in tmp_path.rglob("*") if f.is_file() and b"hunter22" in f.read_bytes()]
    Path("text.yaml").write_text("# @package target\nlogin: {user: ada, phrase: '${oc.env:SMALL_PHRASE}'}\n")
    config("edit", "ship/target/mine", "--file", "text.yaml", *DIR)


def test_migrations_change_all_entries_or_none() -> None:
    texts = customers(8)
    texts[f"{KNOBS}/customer_000"] += "pace: 1\n"
    texts[f"{KNOBS}/customer_001"] = "# @package knobs\n# Customer 1\nrounds: &r 20\nrate: *r\n"
    texts[f"{KNOBS}/customer_002"] += "shape: ${knobs.rate}\n"
    store = stored("configs.db", texts)
    before = {path: entry.text for path, entry in store.entries().items()}
    shown = config("migrate", "rename", "knobs.rate", "knobs.pace", "--publish", code=2)
    for path, message in (
        (f"{KNOBS}/customer_000", "it has both knobs.rate and knobs.pace"),
        (f"{KNOBS}/customer_001", "it repeats values by an alias (*name)"),
        (f"{KNOBS}/customer_002", "it refers to ${knobs.rate}"),
    ):
        assert f"{path}: {message}" in shown
    assert published() == 1
    assert config("draft").splitlines() == ["draft  opened  by  entries  message"]

    stored("configs.db", {p: t for p, t in customers(8).items() if texts[p] != t})
    mended = {path: entry.text for path, entry in store.entries().items()}
    shown = config("migrate", "rename", "knobs.rounds", "knobs.turns")
    assert "4 of 9 entries would change; nothing was changed" in shown
    assert published() == 2
    accept("migrate", "rename", "knobs.rounds", "knobs.turns", "--apply")
    after = {path: entry.text for path, entry in store.entries().items()}
    assert after == {path: text.replace("rounds:", "turns:") for path, text in mended.items()}
    # Undone byte for byte.
    assert published() == 3
    accept("revert", "3")
    assert {path: entry.text for path, entry in store.entries().items()} == mended
    assert before != mended

    accept("migrate", "set", "knobs.rate", "0.2", "--apply")
    assert {e.text for e in store.entries().values() if "rate:" in e.text and "rate: 0.2\n" not in e.text} == set()
    accept("migrate", "delete", "knobs.rounds", "--only", "*/customer_*", "--apply")
    assert [p for p, e in store.entries().items() if "rounds" in e.text] == [f"{KNOBS}/default"]
    assert "revert" not in config("history", "--last", "1")
    assert "it was changed again in revision" in config("revert", "2", code=2)


def test_a_migration_may_be_a_function_of_an_allowed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "def double(path, content):\n"
        "    if 'rounds' not in content:\n        return None\n"
        "    return {**content, 'rounds': content['rounds'] * 2}\n"
        "def fails(path, content):\n    raise ValueError('no')\n"
    )
    write(tmp_path / "site", {"moves/__init__.py": code})
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    store = stored("configs.db", customers(3))
    assert "WMH_PACKAGES" in config("migrate", "call", "moves.double", code=2)
    monkeypatch.setenv("WMH_PACKAGES", "small,moves")
    assert "the function fails: ValueError: no" in config("migrate", "call", "moves.fails", code=2)
    accept("migrate", "call", "moves.double", "--apply")
    assert store.entries()[f"{KNOBS}/customer_001"].text == customers(3)[f"{KNOBS}/customer_001"].replace("20", "40")
    forget("moves")


def test_two_editors_at_once_lose_nothing() -> None:
    path = f"{KNOBS}/default"
    store = stored("configs.db", customers(2))
    config("edit", path, "--set", "knobs.rate=0.3", *DIR)
    config("edit", path, "--set", "knobs.shape=curve", user="bob")
    config("edit", path, "--set", "knobs.rate=0.4", user="cleo")
    config("publish", "2", *DIR)
    for number in (3, 4):
        shown = config("publish", str(number), code=3)
        assert f"{path} (edited from revision 1, now 2)" in shown
        assert f"wmh config draft {number} --merge" in shown
    assert "merged with revision 2" in config("draft", "3", "--merge", user="bob")
    found = store.draft(3).changes[0].after
    assert found is not None
    assert "rate: 0.3" in found
    assert "shape: curve" in found
    # Where both changed the same line, both texts are shown, and one is written.
    shown = config("draft", "4", "--merge", user="cleo", code=3)
    assert "<<<<<<< yours\nrate: 0.4\n=======\nrate: 0.3\n>>>>>>> published" in shown
    Path("merged.yaml").write_text(store.entries()[path].text.replace("0.3", "0.35"))
    config("edit", path, "--draft", "4", "--onto", "2", "--file", "merged.yaml", "--publish", *DIR, user="cleo")
    assert "rate: 0.35" in store.entries()[path].text
    # In one draft, an edit of somebody else's is not overwritten unseen.
    config("edit", path, "--set", "knobs.rounds=3")
    seen = store.draft(5).last_edit
    config("edit", path, "--draft", "5", "--set", "knobs.rounds=4", user="bob")
    with pytest.raises(Refused, match="'bob' has edited"):
        store.edit({path: "rounds: 5\n"}, {path: 1}, "", 5, seen)


def test_who_may_do_what() -> None:
    stored("configs.db", {**customers(1), "ship/target/hall": "# @package target\nname: hall\n"})
    path = f"{KNOBS}/default"
    assert "somebody has to be admin" in config("role", "bob", "propose", code=3)
    config("role", "ann", "admin")
    config("role", "bob", "propose")
    config("role", "cleo", "approve")
    config("role", "dan", "publish")
    assert as_json("role") == {"ann": "admin", "bob": "propose", "cleo": "approve", "dan": "publish"}
    refused = "'eve' has the role read, and to propose changes needs propose"
    assert refused in config("edit", path, "--set", "knobs.rounds=11", user="eve", code=3)
    assert "to change roles needs admin" in config("role", "bob", "admin", user="bob", code=3)
    config("edit", path, "--set", "knobs.rounds=11", user="bob")
    assert "to publish needs publish" in config("publish", "2", *DIR, user="bob", code=3)
    assert "to review a draft needs approve" in config("review", "2", "--approve", user="bob", code=3)
    config("review", "2", "--reject", "-m", "too many", user="cleo")
    assert "'cleo' has rejected draft 2: too many" in config("publish", "2", *DIR, user="dan", code=3)
    config("review", "2", "--approve", user="cleo")
    config("publish", "2", *DIR, user="dan")
    last = as_json("history")[0]
    assert (last["author"], last["publisher"], last["reviewers"]) == ("bob", "dan", ["cleo"])

    # Protected entries need a second person; an edit makes an approval void.
    config("rules", "--protect", "ship/*")
    config("edit", "ship/target/hall", "--set", "target.mode=shout", user="ann")
    config("review", "3", "--approve", user="ann")
    assert "may only be published after somebody who has not edited it" in config("publish", "3", *DIR, code=3)
    config("review", "3", "--approve", user="cleo")
    config("edit", "ship/target/hall", "--draft", "3", "--set", "target.mode=say", user="ann")
    assert "may only be published after" in config("publish", "3", *DIR, code=3)
    config("draft", "3", "--discard")
    assert "it is discarded already" in config("publish", "3", code=2)
    config("rules", "--two-people")
    config("edit", path, "--set", "knobs.rounds=12", user="bob")
    assert "may only be published after" in config("publish", "4", *DIR, user="dan", code=3)
    assert as_json("rules") == {"two_people": True, "protected": ["ship/*"]}


def test_the_configs_of_a_store_and_of_its_export_are_the_same() -> None:
    stored("configs.db", customers(2))
    config("export", "out")
    for n in range(2):
        choice = f"{KNOBS}=customer_{n:03}"
        mine = inside("c=fit", choice, *DIR, "hydra.searchpath=[configs://configs.db]", "--cfg", "job")
        theirs = inside("c=fit", choice, *DIR, "--config-dir", "out", "--cfg", "job")
        assert mine.code == 0, mine.err
        assert mine.out == theirs.out


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["knobs.rate=[1, 2"], "the value of rate is no YAML"),
        (['knobs.rate="0.2'], "the value of rate is no YAML"),
        (["knobs.rate=0.2\nevil: 3"], "the value of rate is no YAML"),
        (["knobs.rate=!!python/object/apply:os.system [x]"], "the value of rate is no YAML"),
        (["knobs.rate=*a"], "the value of rate is no YAML"),
        (["=3"], "expected KEY=VALUE"),
        (["~knobs.rate"], "expected KEY=VALUE"),
        (["+knobs.rate=3"], "expected a key, such as"),
        (["++knobs.rate=3"], "expected a key, such as"),
        (["knobs.rate[0]=3"], "expected a key, such as"),
        (["knobs..rate=3"], "expected a key, such as"),
        (["knobs.=3"], "expected a key, such as"),
        (["knobs.rate.deep=3"], "rate is no mapping there"),
    ],
)
def test_a_value_or_key_that_is_none_is_refused(values: list[str], message: str) -> None:
    stored("configs.db", customers(1))
    before = Path("configs.db").read_bytes()
    assert message in config("edit", f"{KNOBS}/default", "--set", *values, code=2)
    assert Path("configs.db").read_bytes() == before
    if "=" in values[0][1:] and "deep" not in values[0]:
        assert message in config("migrate", "set", *values[0].split("=", 1), code=2)


def test_an_entry_outside_of_groups_has_its_keys_at_the_top() -> None:
    config("edit", "mine", "--set", "knobs.rate=0.2")
    assert ConfigStore("configs.db", "ann").draft(1).changes[0].after == "knobs:\n  rate: 0.2\n"


@pytest.mark.parametrize(
    "words", [("import", "conf"), ("edit", f"{KNOBS}/mine", "--file", f"conf/{KNOBS}/default.yaml")]
)
def test_a_store_is_made_where_the_variable_names_it(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    write(Path("conf"), {f"{path}.yaml": text for path, text in customers(1).items()})
    monkeypatch.setenv("WMH_CONFIG_STORE", "new.db")
    config(*words, "--store", "other.db", "--publish", *DIR)
    assert not Path("new.db").exists()
    config(*words, "--publish", *DIR)
    assert ConfigStore("new.db").newest() == 1


def test_an_export_deletes_no_folder_whole_and_says_where_it_cannot_write() -> None:
    write(Path("conf"), {"fit/knobs/own.yaml": "rate: 1\n"})
    stored("configs.db", customers(1))
    Path("file").touch()
    assert "cannot be written" in config("export", "file", code=2)
    stored("configs.db", dict.fromkeys(customers(1)))
    assert "--delete would leave nothing" in config("export", "conf", "--delete", code=2)
    assert Path("conf/fit/knobs/own.yaml").read_text() == "rate: 1\n"


@pytest.mark.parametrize("names", [["one"], ["one", "two"], ["one", "two", "three"]])
def test_entries_that_include_each_other_are_not_published(names: list[str]) -> None:
    for name, other in zip(names, [*names[1:], names[0]], strict=True):
        write(Path("conf"), {f"{KNOBS}/{name}.yaml": f"# @package knobs\ndefaults: [{other}]\nrate: 0.5\n"})
    assert "leads back to itself" in config("import", "conf", "--publish", *DIR, code=2)
    assert as_json("history") == []


def test_names_and_messages_have_no_characters_for_terminals() -> None:
    stored("configs.db", customers(1))
    edit = ("edit", f"{KNOBS}/default", "--set", "knobs.rounds=11")
    red = "\x1b[31mred"
    assert "expected the name of a user" in config(*edit, user=red, code=2)
    assert "expected the name of a user" in config("role", "a\nb", "admin", code=2)
    assert "expected printable characters" in config(*edit, "-m", red, code=2)
    config(*edit, "-m", "two\nlines, größer")
    assert "expected printable characters" in config("review", "2", "--approve", "-m", red, code=2)
    assert "expected printable characters" in config("publish", "2", "-m", red, *DIR, code=2)
    assert config("draft") == config("draft").replace("\x1b", "")


def test_what_does_not_exist_or_contradicts_itself_is_said() -> None:
    stored("configs.db", customers(1))
    Path("empty").mkdir()
    assert "there is no option file in it" in config("import", "empty", "--delete", code=2)
    assert "had no such entry" in config("history", f"{KNOBS}/nobody", code=2)
    assert "Did you mean 'fit/knobs/customer_000'?" in config("show", f"{KNOBS}/customer_00", code=2)
    config("edit", f"{KNOBS}/default", "--set", "knobs.rounds=11", *DIR)
    assert "See wmh config draft" in config("draft", "7", code=2)
    onto = ("edit", f"{KNOBS}/default", "--set", "knobs.rounds=12", "--onto", "9", "--draft", "2")
    assert "there is no such revision; the newest is 1" in config(*onto, code=2)
    assert "it is not protected" in config("rules", "--unprotect", "ship/*", code=2)
    assert "has no role" in config("role", "bob", "--remove", code=2)
    assert "choose --merge or --discard" in config("draft", "2", "--merge", "--discard", code=2)
    assert as_json("migrate", "set", "knobs.nobody", "3", "--apply") == {"draft": None, "revision": None}
    assert "nothing was changed\n" in config("migrate", "set", "knobs.nobody", "3", "--apply")
    approved = {"draft": 2, "reviewer": "ann", "verdict": "approved", "comment": "fine"}
    assert as_json("review", "2", "--approve", "-m", "fine") == approved
    assert as_json("draft", "2", "--discard") == {"draft": 2, "status": "discarded"}
