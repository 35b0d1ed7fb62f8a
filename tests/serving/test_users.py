"""Users of a model server: the file, the command, and their effect on running servers."""

from __future__ import annotations

import io
import json
import stat
import subprocess
from pathlib import Path

import pytest

from conftest import PROGRAM, Finished
from small_pipeline import inside
from when_ml_pipeline_meets_hydra.errors import BadInput
from when_ml_pipeline_meets_hydra.serving.http.users import Role, User, Users, is_password, new_user

PASSWORD = "correct horse battery"


def add(repository: Path, name: str, role: str, *words: str, password: str = PASSWORD) -> Finished:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdin", io.StringIO(f"{password}\n"))
        return inside("cluster", "user", "add", name, "--role", role, "--repository", str(repository), *words)


def test_add_list_replace_remove(tmp_path: Path) -> None:
    models = tmp_path / "models"
    command = [str(PROGRAM), "cluster", "user", "add", "ann", "--role", "predict", "--repository", str(models)]
    subprocess.run(command, input=f"{PASSWORD}\n", text=True, timeout=120, check=True)
    assert add(models, "bob", "deploy").code == 0
    listed = inside("cluster", "user", "list", "--repository", str(models)).out.split()
    assert listed == ["id", "role", "ann", "predict", "bob", "deploy"]
    again = add(models, "ann", "admin")
    assert (again.code, "there is such a user already" in again.err) == (2, True)
    assert add(models, "ann", "admin", "--replace", password="another password").code == 0
    users = Users(models).all()
    assert users["ann"].role is Role.ADMIN
    assert is_password("another password", users["ann"])
    assert not is_password(PASSWORD, users["ann"])
    assert is_password(PASSWORD, users["bob"])
    assert inside("cluster", "user", "remove", "bob", "--repository", str(models)).code == 0
    code, _, err = inside("cluster", "user", "remove", "an", "--repository", str(models))
    assert (code, "Did you mean 'ann'?" in err) == (2, True)
    assert list(Users(models).all()) == ["ann"]


def test_the_file_holds_hashes_and_is_only_the_owners(tmp_path: Path) -> None:
    assert add(tmp_path, "ann", "predict").code == 0
    file = tmp_path / "users.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert PASSWORD not in file.read_text()
    assert json.loads(file.read_text())["ann"]["hash"].startswith("$argon2id$")
    assert {path.name for path in tmp_path.iterdir()} - {".users.json.lock"} == {"users.json", "work"}


@pytest.mark.parametrize(
    ("name", "role", "password", "message"),
    [
        ("a:b", "predict", PASSWORD, "colon"),
        ("", "predict", PASSWORD, "empty"),
        ("a\nb", "predict", PASSWORD, "printable"),
        ("ann", "deployer", PASSWORD, "Did you mean 'deploy'?"),
        ("ann", "predict", "short", "at least 8"),
        ("ann", "predict", "", "at least 8"),
    ],
)
def test_errors_of_the_user(tmp_path: Path, name: str, role: str, password: str, message: str) -> None:
    done = add(tmp_path, name, role, password=password)
    assert (done.code, message in done.err, "Traceback" in done.err) == (2, True, False), done.err
    assert not (tmp_path / "users.json").exists()


@pytest.mark.parametrize("content", ["", "[]", '{"ann": {}}', '{"ann": {"role": "king", "hash": "x"}}', '{"a:b": 1}'])
def test_a_damaged_file_is_reported_without_its_content(tmp_path: Path, content: str) -> None:
    (tmp_path / "users.json").write_text(content)
    with pytest.raises(BadInput, match=r"users\.json"):
        Users(tmp_path).all()


def test_an_unknown_user_or_a_damaged_hash_never_matches() -> None:
    assert not is_password("", None)
    assert not is_password("x", User(role=Role.ADMIN, hash="x"))
    assert is_password("größe", new_user(Role.PREDICT, "größe"))


def test_each_role_includes_those_before() -> None:
    assert [[role.may(needed) for needed in Role] for role in Role] == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]
