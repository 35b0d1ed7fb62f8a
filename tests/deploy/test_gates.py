"""Quality gates, one by one and all together, and a deployment that heeds them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from conftest import Cli
from prepared_tables import prepared, written
from small_pipeline import DIR, inside, install, write
from when_ml_pipeline_meets_hydra import run
from when_ml_pipeline_meets_hydra.deploy.clusters.local import Local
from when_ml_pipeline_meets_hydra.deploy.gates.baseline import BetterThanNaive
from when_ml_pipeline_meets_hydra.deploy.gates.files import FilesPresent
from when_ml_pipeline_meets_hydra.deploy.gates.interface import Candidate, GateResult, Gates, Rows
from when_ml_pipeline_meets_hydra.deploy.gates.leakage import NoLeakage
from when_ml_pipeline_meets_hydra.deploy.gates.metric import MetricBound
from when_ml_pipeline_meets_hydra.errors import StepFailed
from when_ml_pipeline_meets_hydra.ml.artifacts import PreparedData, TrainedModel
from when_ml_pipeline_meets_hydra.ml.evaluation import Predicted, Verdict
from when_ml_pipeline_meets_hydra.ml.training.partial_scores import NoProgress
from when_ml_pipeline_meets_hydra.records.lookup import find_record
from when_ml_pipeline_meets_hydra.stages.exptests import check

CHAIN = "c=preprocessing,modeling,prediction,analysis,exptests,deployment"
QUICK = ("modeling/model=linear", "analysis/page=quick")
WINE = ("preprocessing/dataset=wine", *QUICK)

silent = NoProgress()


def candidate(
    folder: Path, data: PreparedData | None = None, scores: Mapping[str, float] | None = None, **metrics: Any
) -> Candidate:
    """A model with these metrics; nothing of it is real but its files."""
    rng = np.random.default_rng(0)
    data = data or prepared(folder / "data", rng.normal(size=(40, 2)), rng.normal(size=40))
    model = TrainedModel(path=folder, model="m", task=data.task, metrics=metrics, baseline=dict.fromkeys(metrics, 0.5))
    more: dict[str, Any] = {"rows": 10, "known": 10, "scores": scores or {}}
    said = Predicted(path=folder, rows_of="rows", task=data.task, held_out=False, **more)
    return Candidate(preprocessing=data, modeling=model, prediction=said)


@pytest.mark.parametrize(
    ("gate", "passed"),
    [
        (MetricBound(metric="r2", min=0.7), True),
        (MetricBound(metric="r2", min=0.8), True),
        (MetricBound(metric="r2", min=0.8001), False),
        (MetricBound(metric="rmse", max=3), True),
        (MetricBound(metric="rmse", max=2.9), False),
        (MetricBound(metric="r2", min=0.1, max=0.7), False),
        (MetricBound(metric="accuracy", min=0), False),
    ],
)
def test_a_metric_lies_within_bounds(gate: MetricBound, passed: bool, tmp_path: Path) -> None:
    answer = gate.judge(candidate(tmp_path, r2=0.8, rmse=3.0))
    assert answer.passed is passed
    assert gate.metric in answer.why
    assert answer.found == {"r2": 0.8, "rmse": 3.0}.get(gate.metric)


def test_a_gate_judges_the_held_out_rows_unless_it_is_told_otherwise(tmp_path: Path) -> None:
    easy = candidate(tmp_path, scores={"r2": 0.9}, r2=0.6)
    on_held_out = MetricBound(metric="r2", min=0.7).judge(easy)
    assert on_held_out.why == "r2 is 0.6 on the 10 held-out rows, less than 0.7"
    on_others = MetricBound(metric="r2", min=0.7, rows=Rows.PREDICTED).judge(easy)
    assert on_others.passed
    assert on_others.why == "r2 is 0.9 on the 10 rows of rows with a target, at least 0.7"
    assert (on_held_out.rows, on_others.rows) == ("the 10 held-out rows", "the 10 rows of rows with a target")
    unknown = MetricBound(metric="r2", min=0.7, rows=Rows.PREDICTED).judge(candidate(tmp_path / "other", r2=0.6))
    assert not unknown.passed
    assert "no target is known" in unknown.why


@pytest.mark.parametrize("bounds", [{}, {"min": 2, "max": 1}, {"min": "a"}])
def test_bounds_that_make_no_sense_are_refused(bounds: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        MetricBound(metric="r2", **bounds)


@pytest.mark.parametrize(
    ("gate", "metrics", "passed"),
    [
        (BetterThanNaive(), {"rmse": 0.4}, True),
        (BetterThanNaive(), {"rmse": 0.5}, False),
        (BetterThanNaive(metric="r2"), {"r2": 0.6}, True),
        (BetterThanNaive(metric="r2"), {"r2": 0.4}, False),
        (BetterThanNaive(metric="r2"), {"rmse": 0.4}, False),
    ],
)
def test_better_than_a_guess(gate: BetterThanNaive, metrics: dict[str, Any], passed: bool, tmp_path: Path) -> None:
    assert gate.judge(candidate(tmp_path, **metrics)).passed is passed


def test_rows_on_both_sides_of_the_split(tmp_path: Path) -> None:
    known = np.arange(20.0).reshape(10, 2)
    held_out = np.concatenate([known[:1], known[1:2] + 0.5, known[2:4]])
    target = np.array([0, 0, 0, 1.0])  # the last row is known, but not with this target
    data = written(tmp_path / "data", known, np.zeros(10), held_out, target)
    found = NoLeakage().judge(candidate(tmp_path, data))
    assert (found.passed, found.found) == (False, 0.5)
    assert "2 of 4 held-out rows" in found.why
    assert NoLeakage(max_share=0.5).judge(candidate(tmp_path, data)).passed
    clean = written(tmp_path / "clean", known, np.zeros(10), known + 100, np.zeros(10))
    assert NoLeakage().judge(candidate(tmp_path, clean)).passed


def test_files_that_are_missing_or_empty(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").touch()
    of = candidate(tmp_path)
    found = FilesPresent(modeling=("a", "b", "c"), preprocessing=("train.parquet",)).judge(of)
    assert (found.passed, found.why) == (False, "missing: modeling/c; empty: modeling/b")
    assert FilesPresent(modeling=("a",)).judge(of).passed
    for name in ("/etc/passwd", "../a", ""):
        with pytest.raises(ValidationError):
            FilesPresent(modeling=(name,))


class _Breaks:
    def judge(self, candidate: Candidate) -> GateResult:
        raise ZeroDivisionError("division by zero")


class _Fails:
    def judge(self, candidate: Candidate) -> GateResult:
        raise StepFailed("no answer")


def test_all_gates_are_asked_whatever_becomes_of_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    of = candidate(tmp_path, r2=0.8)
    gates = Gates(tests={"breaks": _Breaks(), "fails": _Fails(), "r2": MetricBound(metric="r2", min=0.5)})
    parts = {"preprocessing": of.preprocessing, "modeling": of.modeling, "prediction": of.prediction}
    verdict = check(gates, **parts, out=tmp_path, progress=silent)  # type: ignore[arg-type]
    assert [(j.gate, j.passed) for j in verdict.judgements] == [("breaks", False), ("fails", False), ("r2", True)]
    assert [j.why for j in verdict.failed] == ["it broke: ZeroDivisionError: division by zero", "no answer"]
    written_down = json.loads((tmp_path / "gates.json").read_text())
    assert [g["passed"] for g in written_down["gates"]] == [False, False, True]
    assert (written_down["passed"], written_down["gates"][2]["found"]) == (False, 0.8)
    assert "1 of 3 gates passed" in capsys.readouterr().out


def test_gates_that_are_none_are_refused() -> None:
    with pytest.raises(ValidationError, match="a Gate is needed below each name"):
        Gates(tests={"a": 3})  # type: ignore[dict-item]


def test_the_whole_chain_and_a_gate_that_refuses(cli: Cli, own_home: Path) -> None:
    done = cli(CHAIN, *WINE, "--multirun")
    assert done.code == 0, done.err
    assert "4 of 4 gates passed" in done.out
    assert "wine version 1 is active on local" in done.out

    words: tuple[str, ...] = (
        *WINE,
        "exptests/gates=classification",
        "gates.tests.accuracy.min=1.01",
        "gates.tests.latency.p99_ms=1e-6",
    )
    words += ("gates.tests.deployed.tolerance=1",)
    refused = inside(CHAIN, *words, "split.seed=7", "--multirun")
    assert refused.code == 3
    for name in ("accuracy", "latency"):
        assert any(line.startswith(f"FAILED  {name}") for line in refused.out.splitlines())
    for name in ("baseline", "files", "leakage", "deployed"):
        assert any(line.startswith(f"passed  {name}") for line in refused.out.splitlines()), refused.out
    (line,) = [line for line in refused.err.splitlines() if "2 of 6 gates failed: latency: " in line]
    assert "; accuracy: accuracy is " in line
    assert "deployment push: skipped (exptests check failed)" in refused.err
    assert find_record(own_home, "last").status == "failed"
    assert Local(path=own_home / "models").status("wine").active == 1, "the version that was active goes on"
    assert len(Local(path=own_home / "models").status("wine").versions) == 1

    later = inside("c=deployment", *words, "split.seed=7")
    assert later.code == 3, "also in a later run"
    assert "exptests: the newest verdict on this model is a refusal: 2 of 6 gates failed: latency: " in later.err
    assert find_record(own_home, "last").status == "failed"
    assert inside("c=deployment", *words, "split.seed=8").code == 0, "another model was never refused"
    assert inside("c=exptests", *words, "split.seed=7").code == 3, "a stored verdict is the same"
    assert inside("c=exptests", *WINE, "gates.tests.latency=null", "split.seed=7").code == 0
    again = inside("c=deployment", *words, "split.seed=7")
    assert again.code == 0, "of several verdicts the newest counts"
    assert "wine version 3 is active" in again.out


def test_not_worse_than_what_is_deployed(own_home: Path) -> None:
    asked = ["c=exptests", *WINE, "exptests/gates=classification", "gates.tests.deployed.metric=log_loss"]

    def deployed(*more: str) -> tuple[bool, str]:
        verdict = run([*asked, *more]).artifact("exptests")
        assert isinstance(verdict, Verdict)
        return next((j.passed, j.why) for j in verdict.judgements if j.gate == "deployed")

    assert deployed() == (True, "no version of wine is active on local")
    assert run(["c=deployment", *WINE]).exit_code == 0
    passed, why = deployed()
    assert passed, "asked again, since there is a version now"
    assert "that of version 1 on local" in why
    slightly_worse = deployed("m_param.alpha=1.000001")
    assert not slightly_worse[0]
    ours, theirs = re.findall(r"is (0\.\d+) ", slightly_worse[1])
    assert ours != theirs, "as many digits as it takes to see the difference"
    worse = "m_param.alpha=1000"
    assert not deployed(worse)[0]
    assert deployed(worse, "gates.tests.deployed.tolerance=5")[0]
    assert run([*asked]).outcomes[-1].status == "stored", "nothing has changed outside"


def test_a_cluster_that_cannot_be_reached_is_said_by_its_gate() -> None:
    words = ["c=exptests", *WINE, "exptests/gates=classification", "deployment/cluster=http"]
    done = run([*words, "cluster.url=http://127.0.0.1:1", "cluster.pw=secret-of-mine", "cluster.timeout=1"])
    assert done.exit_code == 3
    verdict = done.artifact("exptests")
    assert isinstance(verdict, Verdict)
    (failed,) = verdict.failed
    assert failed.gate == "deployed"
    assert "cannot be reached" in failed.why


def test_the_time_of_one_row_is_measured() -> None:
    words = ["c=exptests", *QUICK, "+exptests/gate@gates.tests.slow=latency", "gates.tests.slow.p99_ms=1e-6"]
    verdict = run([*words, "gates.tests.latency.requests=100", "gates.tests.slow.requests=100"]).artifact("exptests")
    assert isinstance(verdict, Verdict)
    (slow,) = verdict.failed
    assert slow.gate == "slow"
    assert slow.found is not None
    assert slow.found > 1e-6


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["gates.tests.latency.p99_ms=-1"], "gates.tests.latency.p99_ms=-1: expected a number, 0 < x ≤ 3600000"),
        (["gates.tests.latency.p99=1"], "gates.tests.latency.p99: there is no such key"),
        (["gates.tests.leakage.max_share=2"], "gates.tests.leakage.max_share=2: expected a number, 0 ≤ x ≤ 1"),
        (["+exptests/gate=metric"], "gates.tests.metric.metric"),
        (["+gates.tests.own.min=1"], "gates.tests.own: a Gate is needed, but the chosen option names no _target_"),
        (["+gates.tests.own._target_=os.system"], "only when_ml_pipeline_meets_hydra may be named here"),
        (["exptests/gates=strict"], "exptests/gates=strict: there is no such option"),
        (["gates.tests=null"], "gates.tests: no gate is left, so nothing would be judged"),
    ],
)
def test_everything_is_validated_before_anything_runs(words: list[str], message: str, own_home: Path) -> None:
    done = inside("c=exptests", *words)
    assert done.code == 2, done.err
    assert message in done.err
    assert not (own_home / "store").exists()


def test_a_gate_can_be_taken_out_and_put_in() -> None:
    words = ["plan", "--json", "c=exptests", "gates.tests.latency=null", "+exptests/gate=r2", "~gates.tests.files"]
    done = inside(*words)
    assert done.code == 0, done.err
    inputs = json.loads(done.out)["steps"][-1]["inputs"]["arguments"]["gates"]["tests"]
    assert list(inputs) == ["baseline", "leakage", "r2"]


def test_help_shows_the_keys_of_each_gate() -> None:
    done = inside("c=exptests", "--help", "exptests/gates=classification")
    assert done.code == 0
    for text in ("gates.tests.accuracy.min=0.9", "gates.tests.latency.p99_ms=50.0   a number, 0 < x ≤ 3600000"):
        assert text in done.out


def test_a_gate_of_somebody_elses_is_part_of_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "mine" / "my_gates.py"
    package.parent.mkdir()
    text = (
        "from when_ml_pipeline_meets_hydra.contracts import frozen\n"
        "from when_ml_pipeline_meets_hydra.deploy.gates.interface import Candidate, GateResult\n\n\n"
        "@frozen\nclass Short:\n    most: int\n\n    def judge(self, candidate: Candidate) -> GateResult:\n"
        "        n = len(candidate.preprocessing.features)\n"
        "        return GateResult(passed=n <= self.most, why=f'{n} features', found=n)\n"
    )
    package.write_text(text)
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setenv("WMH_PACKAGES", "my_gates")
    option = "# @package gates.tests.short\n# Few features\n_target_: my_gates.Short\nmost: 5\n"
    folder = write(tmp_path / "conf", {"exptests/gate/short.yaml": option})
    done = run(["c=exptests", *WINE, "+exptests/gate=short"], config_dirs=[folder])
    verdict = done.artifact("exptests")
    assert isinstance(verdict, Verdict)
    assert [(j.gate, j.why, j.found) for j in verdict.failed] == [("short", "13 features", 13.0)]
    from when_ml_pipeline_meets_hydra.binding import code_version

    package.write_text(text + "# another line\n")
    code_version._digest_and_imports.cache_clear()
    plan = inside("plan", "c=exptests", *WINE, "+exptests/gate=short", "--config-dir", folder).out
    assert "its code changed" in plan.splitlines()[-2]


ECHO = """
from pathlib import Path
from when_ml_pipeline_meets_hydra.contracts import effect
from small.steps import Gathered


@effect
def echo(gather: Gathered | None = None) -> None:
    print("received" if gather else "received nothing")
"""


def test_a_stage_that_may_be_missing_is_received_only_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch)
    (tmp_path / "mine").mkdir()
    source = ECHO.replace("Gathered", _artifact_of_gather())
    (tmp_path / "mine" / "echoes.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path / "mine"))
    monkeypatch.setenv("WMH_PACKAGES", "small,echoes")
    files = {
        "c/echo.yaml": "# d\nafter: []\n",
        "c/echo_sub/run.yaml": "# @package echo_sub\n# d\n_target_: echoes.echo\n",
    }
    mine = (*DIR, "--config-dir", write(tmp_path / "conf", files))
    alone = inside(*mine, "c=echo")
    assert (alone.code, alone.out) == (0, "received nothing\n"), alone.err
    plan = json.loads(inside("plan", *mine, "c=echo,gather", "--multirun", "--json").out)["steps"]
    assert [s["stage"] for s in plan] == ["gather", "echo"], "in the order of what is received"
    assert plan[1]["needs"] == {"gather": plan[0]["key"]}
    together = inside(*mine, "c=echo,gather", "--multirun")
    assert together.out.splitlines()[-1] == "received", together.err


def _artifact_of_gather() -> str:
    from typing import get_type_hints

    from small import steps

    return str(get_type_hints(steps.gather)["return"].__name__)
