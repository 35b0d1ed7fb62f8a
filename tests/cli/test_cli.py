"""The surface of the command line: plan, help, completion, flags; and what it costs to import."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import PROGRAM, Cli
from small_pipeline import CONF, DIR, EXAMPLES, inside, install, small, steps_run, write
from terminal import Terminal
from when_ml_pipeline_meets_hydra import __version__
from when_ml_pipeline_meets_hydra.cli.completion import candidates
from when_ml_pipeline_meets_hydra.errors import ExitCode

NAME = "when_ml_pipeline_meets_hydra"
NAMES = ("wmh", NAME)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


def golden(name: str, text: str) -> None:
    """Compare with the golden file; ``GOLDEN=write pytest`` rewrites it, for the difference to be reviewed."""
    text = "".join(f"{line.rstrip()}\n" for line in text.splitlines())
    file = EXAMPLES / "golden" / name
    if os.environ.get("GOLDEN") == "write":
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    assert text == file.read_text()


@pytest.mark.parametrize("columns", [60, 100, 160])
def test_help(cli: Cli, columns: int) -> None:
    code, out, err = cli("--help", env={"COLUMNS": str(columns)})
    assert (code, err) == (0, "")
    golden(f"help-{columns}.txt", out)
    assert "\x1b" not in out, "plain where it is piped"
    assert columns < 100 or max(map(len, out.splitlines())) <= columns


def test_help_of_a_stage() -> None:
    code, out, _ = inside(*DIR, "c=fit", "knobs.rounds=3", "gather/source=file", "--help")
    assert code == 0
    golden("help-fit.txt", out.replace(CONF, "CONF"))


@pytest.mark.parametrize("columns", [30, 60, 200])
def test_no_path_is_broken_in_a_window_of_any_width(
    columns: int, tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long lines are left to the terminal, so that what is copied from it, or looked for in it, is whole."""
    monkeypatch.setenv("COLUMNS", str(columns))
    folder = tmp_path / ("long " * 10).strip() / ("name" * 15)
    option = "# @package source\n# One number\n_target_: small.options.FileSource\nnumbers: [0]\npath: ???\n"
    more = write(folder, {"gather/source/mine.yaml": option})
    words = (*DIR, "--config-dir", more, "c=gather", "gather/source=mine", f"source.path={folder / 'none.txt'}")
    assert f"source.path={folder / 'none.txt'}: there is no such file" in inside(*words).err
    assert f"      from {folder}/gather/source/mine.yaml, line 5\n" in inside(*words[:-1], "--help").out
    path = "/".join(["a", *["long"] * 12, "none.txt"])
    assert f"  source.path={path}   " in inside(*words[:-1], f"source.path={path}", "--help").out

    assert inside(*DIR, "c=fit", "knobs.strict=true").code == ExitCode.STEP_FAILED
    shown = inside("runs", "show", "last").out
    (log,) = own_home.glob("runs/*/logs/fit*.log")
    assert f"  log: {log}\n" in shown
    artifact = next(own_home.glob("store/??/*/artifact.json"))
    artifact.write_text("{")
    assert f"{artifact}: missing or damaged\n" in inside("store", "verify").out


def test_a_terminal_gets_paths_in_one_piece() -> None:
    path = "/".join(["a", *["long"] * 20, "none.txt"])
    seen = Terminal(*DIR, "c=gather", "gather/source=file", f"source.path={path}", columns=40)
    assert seen.finish() == ExitCode.BAD_INPUT
    assert f"source.path={path}" in re.sub(r"\x1b\[[0-9;]*m", "", seen.raw.decode())


@pytest.mark.parametrize("columns", ["0", "1", "-5", "wide"])
def test_a_window_without_a_width_shows_the_plan(columns: str) -> None:
    words = ("plan", "c=modeling")
    out = inside(*words, env={"COLUMNS": columns}).out
    assert "preprocessing prepare" in out
    terminal = Terminal(*words, columns=100, environment={"COLUMNS": columns})
    assert terminal.finish() == 0
    assert re.search("preprocessing.*prepare", terminal.text, re.DOTALL)


def test_help_of_our_own_commands() -> None:
    for words, texts in {
        ("plan", "--help"): ("--json", "--multirun", "--config-dir"),
        ("runs", "--help"): ("list", "show", "diff", "rerun"),
        ("store", "--help"): ("list", "verify", "gc"),
        ("store", "gc", "--help"): ("--unused-for", "--dry-run"),
        ("serve", "--help"): ("--port", "--host"),
    }.items():
        code, out, _ = inside(*words)
        assert code == 0
        assert all(text in out for text in texts)


def test_plan_shows_steps_with_reasons_and_runs_nothing() -> None:
    code, out, err = inside("plan", *DIR, "c=ship")
    assert (code, err) == (0, "")
    golden("plan-new.txt", re.sub(r"[0-9a-f]{12}", "KEY", out))
    assert steps_run() == {}
    small("c=ship")
    golden("plan-stored.txt", re.sub(r"[0-9a-f]{12}", "KEY", inside("plan", *DIR, "c=ship", "knobs.rounds=3").out))


def test_plan_for_machines() -> None:
    found = json.loads(inside("plan", *DIR, "c=gather,ship", "--multirun", "--json").out)
    assert [(s["stage"], s["action"], s["jobs"]) for s in found["steps"]] == [
        ("gather", "run", [0, 1]),
        ("fit", "run", [1]),
        ("ship", "run", [1]),
    ]
    gather, fit, ship = (step["key"] for step in found["steps"])
    assert found["requested"] == {"0": gather, "1": ship}
    assert [s["needs"] for s in found["steps"]] == [{}, {"gather": gather}, {"fit": fit}]
    assert found["steps"][1]["inputs"]["arguments"]["knobs"]["rate"] == 0.5
    keys = [o.step.key for o in small("c=fit").outcomes]
    assert keys == [gather, fit], "a plan has the keys of a run"


def test_cfg_prints_the_config_of_each_job() -> None:
    code, out, _ = inside(*DIR, "c=fit", "knobs.rounds=1,2", "--multirun", "--cfg", "job", "--package", "knobs")
    assert code == 0
    assert [line for line in out.splitlines() if line.startswith(("#", "rounds"))] == [
        "# job 0: c=fit knobs.rounds=1",
        "rounds: 1",
        "# job 1: c=fit knobs.rounds=2",
        "rounds: 2",
    ]


def test_cfg_resolves_on_request() -> None:
    words = (*DIR, "c=ship", "target.name=${target.login.user}", "--cfg", "job", "-p", "target.name")
    assert "${target.login.user}" in inside(*words).out
    assert inside(*words, "--resolve").out == "ada\n"


def test_cfg_of_hydra_and_of_all() -> None:
    assert inside("c=help", "--cfg", "hydra").out.startswith("hydra:\n")
    every = inside("c=help", "--cfg", "all").out
    assert "\nhydra:\n" in f"\n{every}"
    assert "\nmodel_name: " in every


@pytest.mark.parametrize("what", ["all", "config", "defaults", "defaults-tree", "plugins", "searchpath"])
def test_info(what: str) -> None:
    code, out, err = inside(*DIR, "c=fit", "--info", what)
    assert (code, err) == (0, "")
    assert len(out) > 100


def test_version(cli: Cli) -> None:
    code, out, err = cli("--version")
    assert (code, out.strip(), err) == (0, __version__, "")


def test_python_m_is_the_same_program() -> None:
    done = subprocess.run([sys.executable, "-m", NAME, "c=help"], capture_output=True, text=True, check=True)
    assert done.stdout == inside("c=help").out


def test_overrides_that_change_nothing_are_noted() -> None:
    err = inside(*DIR, "c=gather", "knobs.rounds=3").err
    assert "Note: knobs.rounds=3 changes nothing here, no step of this run receives it" in err
    assert "Note" not in inside(*DIR, "c=gather", "source.workers=3").err


COMPLETIONS = {
    "": ["c=", "plan ", "runs ", "store ", "serve ", "modeling/model=", "model_name="],
    "c": ["c=", "c/modeling_sub=", "cluster.path="],
    "c=": ["c=preprocessing", "c=modeling", "c=deployment", "c=help"],
    "c=mod": ["c=modeling"],
    "c=preprocessing,mod": ["c=preprocessing,modeling"],
    "modeling/model=gr": ["modeling/model=gradient_boosting"],
    "+modeling/model=gr": ["+modeling/model=gradient_boosting"],
    "~modeling/mo": ["~modeling/model="],
    "modeling/pa": ["modeling/param="],
    "modeling/model=linear m_param.a": ["m_param.alpha="],
    "modeling/model=cnn_small m_param.ep": ["m_param.epochs="],
    "m_param.lear": ["m_param.learning_rate="],
    "++m_param.lear": ["++m_param.learning_rate="],
    "modeling/model=cnn m_param.l": ["m_param.learning_rate=", "m_param.loss="],
    "modeling/model=cnn modeling/param=small m_param.le": ["m_param.learning_rate="],
    "modeling/model=random_forest model.": ["model.name="],
    "deployment/cluster=http cluster.": ["cluster.url=", "cluster.pw="],
    "pl": ["plan "],
    "plan c=mod": ["c=modeling"],
    "runs ": ["list", "show", "diff", "rerun"],
    "runs sh": ["show"],
    "runs show la": ["last"],
    "store ": ["list", "verify", "gc"],
    "store gc --": ["--unused-for", "--dry-run"],
    "serve --po": ["--port"],
    "config ": ["list", "show", "migrate"],
    "config migrate ": ["rename", "set"],
    "--mul": ["--multirun"],
    "--": ["--help", "--cfg", "--info", "--config-dir", "--version"],
    f"--config-dir {CONF} c=ga": ["c=gather"],
    f"--config-dir {CONF} gather/": ["gather/source="],
    f"--config-dir {CONF} gather/source=": ["gather/source=few", "gather/source=file"],
    f"--config-dir {CONF} knobs.ra": ["knobs.rate="],
    f"--config-dir {CONF} gather/source=file source.": ["source.path="],
    f"hydra.searchpath=[{CONF}] c=ga": ["c=gather"],
}


@pytest.mark.parametrize(("line", "expected"), COMPLETIONS.items())
def test_completion(line: str, expected: list[str]) -> None:
    found = candidates(f"{NAME} {line}")
    assert set(expected) <= set(found)
    word = "" if line.endswith(" ") or not line else line.split()[-1]
    assert all(candidate.startswith(word) for candidate in found)
    if len(expected) == 1 and line not in ("modeling/model=random_forest model.",) and not line.endswith("source."):
        assert found == expected


def test_completion_knows_the_runs() -> None:
    run_id = small("c=gather").record.id
    assert run_id in candidates(f"{NAME} runs show ")
    assert candidates(f"{NAME} runs diff last {run_id[:8]}") == [run_id]


def test_completion_of_nonsense_is_nothing() -> None:
    for line in ("zzz=", "modeling/model=zzz", "runs zzz zzz zzz", "--zzz", "=", f"--config-dir /no/where{' '}c=zz"):
        assert candidates(f"{NAME} {line}") in ([], ["last"])


def test_completion_of_broken_files_prints_no_traceback(tmp_path: Path, cli: Cli) -> None:
    broken = tmp_path / "conf" / "c"
    broken.mkdir(parents=True)
    (broken / "x.yaml").write_text("a: [")
    line = f"{NAME} --config-dir {broken.parent} c="
    code, out, _ = cli("-sc", "query=bash", env={"COMP_LINE": line})
    assert "Traceback" not in out
    assert code in (0, 2)


def complete_in_bash(line: str) -> list[str]:
    """What a real bash offers for the line, with the script that the program prints."""
    script = subprocess.run([PROGRAM, "-sc", "install=bash"], capture_output=True, text=True, check=True).stdout
    words = line.split() + ([""] if line.endswith(" ") else [])
    code = f"""{script}
        COMP_LINE={line!r}; COMP_POINT=${{#COMP_LINE}}
        COMP_WORDS=({" ".join(map(repr, words))}); COMP_CWORD={len(words) - 1}
        _wmh {line.split()[0]}
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    path = {"PATH": f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, env={**os.environ, **path}, check=True)
    assert done.stderr == ""
    return done.stdout.split("\n")[:-1]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("c=mod", ["modeling"]),
        ("modeling/model=ra", ["random_forest"]),
        ("c=preprocessing,mod", ["preprocessing,modeling"]),
        ("modeling/mod", ["modeling/model="]),
        ("runs sh", ["show"]),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_bash_completes(name: str, line: str, expected: list[str]) -> None:
    assert complete_in_bash(f"{name} {line}") == expected


@pytest.mark.integration("zsh")
@pytest.mark.parametrize("name", NAMES)
def test_zsh_completes(name: str) -> None:
    """In a terminal, by the Tab key."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "PATH": f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}", "TERM": "xterm"}
    shell = subprocess.Popen(
        ["zsh", "-f", "-i"], stdin=theirs, stdout=theirs, stderr=theirs, env=env, start_new_session=True
    )
    try:
        os.write(ours, f'bindkey -e; eval "$({name} -sc install=zsh)"; echo "is "ready\n'.encode())
        assert "is ready" in _read(ours, "is ready")
        os.write(ours, f"{name} modeling/model=ra\t".encode())
        assert "modeling/model=random_forest" in _read(ours, "random_forest")
    finally:
        shell.kill()
        shell.wait()
        os.close(ours)
        os.close(theirs)


def _read(terminal: int, until: str, seconds: float = 20) -> str:
    text, end = "", time.monotonic() + seconds
    while until not in text and time.monotonic() < end:
        if select.select([terminal], [], [], 0.1)[0]:
            text += os.read(terminal, 4096).decode(errors="replace")
    return text


@pytest.mark.integration("fish")
@pytest.mark.parametrize("name", NAMES)
def test_fish_completes(name: str) -> None:
    script = inside("-sc", "install=fish").out
    path = {**os.environ, "PATH": f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}"}
    code = f"{script}\ncomplete -C '{name} c=mod'"
    done = subprocess.run(["fish", "-c", code], check=True, capture_output=True, text=True, env=path)
    assert "c=modeling" in done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_installed_and_uninstalled(shell: str) -> None:
    for verb in ("install", "uninstall"):
        code, out, _ = inside("-sc", f"{verb}={shell}")
        assert code == 0
        assert all(name in out for name in NAMES)


@pytest.mark.parametrize(
    "shell", ["bash", *(pytest.param(shell, marks=pytest.mark.integration(shell)) for shell in ("zsh", "fish"))]
)
def test_uninstalling_removes_the_completion_of_both_names(shell: str) -> None:
    listed = {
        "bash": "complete -p",
        "zsh": "echo ${(kv)_comps}; functions",
        "fish": "complete; functions --all",
    }
    start = {"bash": ["bash", "-c"], "zsh": ["zsh", "-f", "-c"], "fish": ["fish", "--no-config", "-c"]}
    scripts = [inside("-sc", f"{verb}={shell}").out for verb in ("install", "uninstall")]
    path = {**os.environ, "PATH": f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}"}
    code = f"{scripts[0]}\n{listed[shell]}\necho MIDDLE\n{scripts[1]}\n{listed[shell]}\necho END"
    done = subprocess.run([*start[shell], code], check=True, capture_output=True, text=True, env=path)
    before, _, after = done.stdout.partition("MIDDLE")
    assert done.stderr == ""
    assert all(name in before for name in NAMES)
    assert after.rstrip().endswith("END")
    assert not any(name in after for name in NAMES)


LIBRARIES = ("sklearn", "polars", "onnxruntime", "numpy", "pandas", "onnx", "pyarrow", "scipy", "fastapi")


def loaded_by(*words: str) -> tuple[int, set[str]]:
    """The exit code of a command, and the top-level modules that its process had loaded at its end."""
    code = (
        "import sys\n"
        f"from {NAME}.cli import main\n"
        "try: code = main(sys.argv[1:])\n"
        "except SystemExit as stopped: code = stopped.code or 0\n"
        "print('\\n' + ' '.join(sorted({m.partition('.')[0] for m in sys.modules})))\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    return done.returncode, set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "words",
    [
        ["--version"],
        ["-sc", "query=bash"],
        ["-sc", "install=bash"],
    ],
)
def test_what_only_shows_loads_next_to_nothing(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMP_LINE", f"{NAME} modeling/model=")
    code, loaded = loaded_by(*words)
    assert code == ExitCode.DONE
    assert not loaded & {*LIBRARIES, "hydra"}


@pytest.mark.parametrize(
    "words",
    [
        "runs list",
        "runs show last",
        "runs diff last last",
        "runs compare last",
        "store list",
        "store gc",
        "store verify",
    ],
)
def test_what_reads_records_and_results_loads_no_hydra(words: str) -> None:
    small("c=gather")
    code, loaded = loaded_by(*words.split())
    assert code == ExitCode.DONE
    assert not loaded & {*LIBRARIES, "hydra", "omegaconf"}


@pytest.mark.parametrize("words", [["c=modeling", "--help"], ["c=modeling", "--cfg", "job"]])
def test_what_looks_around_loads_no_library(words: list[str]) -> None:
    code, loaded = loaded_by(*words)
    assert code == ExitCode.DONE
    assert not loaded & set(LIBRARIES)
