"""Models that were trained before are evaluated on new rows; their training data need not be there."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from small_pipeline import inside
from when_ml_pipeline_meets_hydra.errors import BadInput, ExitCode
from when_ml_pipeline_meets_hydra.pipeline import run
from when_ml_pipeline_meets_hydra.records.lookup import find_record

MODEL = ("preprocessing/dataset=csv", "dataset.target=y", "modeling/model=linear")


def table(file: Path, rows: int, noise: float) -> Path:
    """Rows of y = 3a + b, with noise."""
    numbers = random.Random(rows)
    lines = ["a,b,y"]
    for _ in range(rows):
        a, b = numbers.uniform(0, 10), numbers.uniform(0, 10)
        lines.append(f"{a:.4f},{b:.4f},{3 * a + b + noise * numbers.gauss(0, 1):.4f}")
    file.write_text("\n".join(lines) + "\n")
    return file


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str, str]]:
    """A home with a model that was deployed as ``sums``, the id of the run, and the key of the model."""
    folder = tmp_path_factory.mktemp("stored")
    data, home = table(folder / "train.csv", 200, 4.0), folder / "home"
    done = run(["c=deployment", *MODEL, f"dataset.path={data}", "model_name=sums", f"home={home}"])
    assert done.exit_code == 0
    data.unlink()
    yield home, done.record.id, done.artifact("modeling").key
    shutil.rmtree(folder)


@pytest.fixture
def home(trained: tuple[Path, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, which is the home folder."""
    copy = shutil.copytree(trained[0], tmp_path / "copy")
    monkeypatch.setenv("WMH_HOME", str(copy))
    return Path(copy)


def evaluate(model: str, file: Path, *words: str) -> tuple[str, ...]:
    return ("c=prediction", f"prediction/model={model}", "prediction/rows=csv", f"new_rows.path={file}", *words)


def test_by_run_key_and_deployment(home: Path, trained: tuple[Path, str, str], tmp_path: Path) -> None:
    easy = table(tmp_path / "easy.csv", 50, 0.0)
    _, run_id, key = trained
    first = run(evaluate("run", easy, f"stored_model.run={run_id}"))
    assert first.exit_code == 0
    assert list(first.metrics) == ["prediction.r2", "prediction.mae", "prediction.rmse", "prediction.mape"]
    assert first.metrics["prediction.r2"] > 0.99
    assert "prediction.r2=0.99" in inside("runs", "list").out
    assert "prediction.r2" in inside("runs", "compare", "last", "--json").out
    (step,) = first.outcomes
    for model, word in {"run": "run=last", "key": f"key={key[:9]}", "deployed": "name=sums"}.items():
        done = run(evaluate(model, easy, f"stored_model.{word}"))
        assert done.metrics == first.metrics, model
        assert model != "run" or done.outcomes[0].step.key == step.step.key, "the model counts, not its name"
    held_out = run(["c=prediction", "prediction/model=run", f"stored_model.run={run_id}"])
    assert held_out.exit_code == 0
    assert held_out.metrics == {}, "those of the held-out rows are the model's own"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run",), "stored_model.run: a value is needed"),
        (("run", "stored_model.run=nope"), "stored_model.run=nope: there is no such run"),
        (("run", "stored_model.run=last", "stored_model.job=7"), "stored_model.job=7: "),
        (("key", "stored_model.key=0123456789"), "stored_model.key=0123456789: no stored model has this key"),
        (("key", "stored_model.key=../../etc"), "stored_model.key"),
        (("deployed", "stored_model.name=nope"), "stored_model.name=nope: no version is active on local (there: none)"),
        (("deployed", "stored_model.name=sums", "stored_model.version=9"), "there is no version 9 on local (there: 1)"),
        (("trained", "c/prediction_sub=predict_stored"), "stored_model"),
        (("else",), "prediction/model=else: there is no such option"),
    ],
)
def test_what_is_no_stored_model_is_refused(home: Path, words: tuple[str, ...], message: str, tmp_path: Path) -> None:
    model, *rest = words
    done = inside(*evaluate(model, table(tmp_path / "easy.csv", 5, 0.0), *rest))
    assert (done.code, message in done.err) == (ExitCode.BAD_INPUT, True), done.err


def test_models_that_are_gone_or_damaged_are_refused_by_name(
    home: Path, trained: tuple[Path, str, str], tmp_path: Path
) -> None:
    easy, key = table(tmp_path / "easy.csv", 5, 0.0), trained[2]
    words = evaluate("run", easy, f"stored_model.run={trained[1]}")
    model = home / "store" / key[:2] / key / "files" / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"!")
    done = run(words)
    assert done.exit_code == ExitCode.STEP_FAILED
    assert "model.onnx: changed since it was stored" in (done.outcomes[0].error or "")
    (prepared,) = [s["key"] for s in find_record(home, trained[1]).steps if s["stage"] == "preprocessing"]
    shutil.rmtree(home / "store" / prepared[:2])
    with pytest.raises(BadInput, match=r"the prepared data .* are not in the store any more"):
        run(words)
    shutil.rmtree(home / "store" / key[:2], ignore_errors=True)
    with pytest.raises(BadInput, match=r"the models of run .* are not in the store any more"):
        run(words)


@pytest.mark.parametrize("stage", ["analysis", "exptests"])
def test_a_report_on_one_model_with_the_predictions_of_another_is_refused(home: Path, stage: str) -> None:
    done = inside(f"c={stage}", "prediction/model=run", "stored_model.run=last")
    assert done.code == ExitCode.BAD_INPUT
    assert "prediction/model: the predictions would be those of a stored model" in done.err


def test_new_rows_have_metrics_of_their_own_in_records(tmp_path: Path, own_home: Path) -> None:
    data, easy = table(tmp_path / "train.csv", 120, 4.0), table(tmp_path / "easy.csv", 30, 0.0)
    words = ["c=modeling,prediction", *MODEL, f"dataset.path={data}"]
    assert set(run(words, multirun=True).metrics) == {f"modeling.{m}" for m in ("r2", "mae", "rmse", "mape")}
    both = run([*words, "prediction/rows=csv", f"new_rows.path={easy}"], multirun=True).metrics
    assert both["prediction.r2"] > 0.99 > both["modeling.r2"]
    (listed,) = [line for line in inside("runs", "list").out.splitlines() if "prediction.r2=0.99" in line]
    assert "modeling.rmse=" in listed
    assert {"test.r2", "prediction.r2"} <= set(inside("runs", "compare", "last").out.split())
    gate = ["c=exptests", *words[1:], "gates.tests={}", "+exptests/gate=r2", "gates.tests.r2.min=0.98"]
    gate += ["prediction/rows=csv", f"new_rows.path={easy}"]
    on_held_out = inside(*gate)
    assert on_held_out.code == ExitCode.REFUSED, "easy rows do not count"
    assert "on the 24 held-out rows, less than 0.98" in on_held_out.out
    on_new_rows = inside(*gate, "gates.tests.r2.rows=predicted")
    assert on_new_rows.code == 0
    assert "on the 30 rows of easy with a target, at least 0.98" in on_new_rows.out
