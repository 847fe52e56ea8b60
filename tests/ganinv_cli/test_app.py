"""Exit codes, the config file, start-up time, and that no mistake of a user ever shows a traceback."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from ganinv_cli.app import read_config
from pipelines.errors import (
    GanInvError,
    NoInputError,
    OutputError,
    RequirementError,
    UsageError,
    WeightsError,
)
from pipelines.training.specs import HeadSpec

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "ganinv_cli.app"]


def true_run(*words: str, cwd: Path, **more: Any) -> subprocess.CompletedProcess[str]:
    environ = os.environ | {"PYTHONPATH": str(ROOT), "GANINV_OFFLINE": "1", "GANINV_HOME": str(cwd / "home")}
    return subprocess.run([*COMMAND, *words], cwd=cwd, env=environ, capture_output=True, text=True, check=False, **more)


def computed() -> float:
    """Seconds that the processes of this one have computed: those that a busy machine lets them wait do not count."""
    times = os.times()
    return times.children_user + times.children_system


def test_version_is_fast_and_loads_no_tensor_library(tmp_path: Path) -> None:
    seconds = []
    for _ in range(3):
        start = computed()
        result = true_run("--version", cwd=tmp_path)
        seconds.append(computed() - start)
        assert result.returncode == 0
        assert result.stdout.startswith("ganinv ")
    assert min(seconds) < 1.5  # the budget is 0.4 s on a quiet machine
    heavy = "import sys, ganinv_cli.app; print(sorted({'torch', 'numpy', 'PIL', 'rich'} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", heavy], cwd=ROOT, capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (GanInvError("a"), 1),
        (UsageError("unknown method 'x'; known: feature"), 2),
        (OutputError("the disk is full"), 3),
        (NoInputError("no image in ./raw"), 4),
        (WeightsError("landmarks-68 is missing"), 5),
        (RequirementError("id 0.4 is below 0.5"), 6),
        (KeyboardInterrupt(), 130),
        (OSError(errno.ENAMETOOLONG, "File name too long", "x" * 300), 2),
        (OSError(errno.ENOSPC, "No space left on device", "faces/a.png"), 3),
    ],
)
def test_every_error_is_one_line_and_its_exit_code(ganinv: Any, api: Any, error: BaseException, code: int) -> None:
    api.error = error
    result = ganinv("align", "raw")
    assert result.exit_code == code
    assert result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if not line.startswith("a library")]
    assert len(lines) == 1
    assert str(error.args[-1] if error.args else "interrupted") in lines[0]


@pytest.mark.parametrize(
    ("summary", "code"),
    [
        ({"ok": 2, "total": 2}, 0),
        ({"ok": 1, "failed": 1, "total": 2, "failures": {"no-face": 1}}, 3),
        ({"failed": 2, "total": 2, "failures": {"no-face": 2}}, 4),
        ({"ok": 1, "total": 5, "complete": False}, 3),
    ],
)
def test_the_run_decides_the_exit_code(ganinv: Any, api: Any, summary: dict[str, Any], code: int) -> None:
    api.summary = summary
    assert ganinv("align", "raw").exit_code == code


def test_a_bug_asks_for_a_report_and_keeps_the_traceback_in_a_file(ganinv: Any, api: Any) -> None:
    api.error = ZeroDivisionError("division by zero")
    result = ganinv("align", "raw")
    assert result.exit_code == 1
    last = result.stderr.splitlines()[-1]
    assert "report" in last
    log = Path(last.rpartition(" ")[2])
    try:
        assert "ZeroDivisionError: division by zero" in log.read_text(encoding="utf-8")
    finally:
        log.unlink()


def test_verbose_shows_the_traceback_of_a_bug(api: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from ganinv_cli.app import app

    monkeypatch.setenv("GANINV_HOME", str(tmp_path))
    api.error = ZeroDivisionError("division by zero")
    result = CliRunner().invoke(app, ["align", "raw", "-v"])
    assert result.exit_code == 1
    assert "Traceback" in result.stderr
    assert "Traceback" not in result.stdout


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["align"], "INPUT"),
        (["aling", "raw"], "alin"),
        (["align", "raw", "--sise", "3"], "--sise"),
        (["align", "raw", "--size", "big"], "--size"),
        (["align", "raw", "--faces", "some"], "--faces"),
        (["align", "raw", "--shard", "3"], "I/N"),
        (["align", "raw", "--shard", "3/2"], "3/2"),
        (["align", "raw", "--limit", "0"], "--limit"),
        (["edit", "faces"], "--attr"),
        (["edit", "--attr", "smile", "faces"], "smile"),
        (["edit", "--attr", "smile=much", "faces"], "much"),
        (["edit", "--attr", "smile=-2:2:0", "faces"], "sweep"),
        (["invert", "faces", "--align", "--aligned"], "choose one"),
        (["align", "raw", "--overwrite", "--retry-failed"], "choose one"),
        (["align", "raw", "--device", "tpu"], "no device 'tpu'"),
        (["edit", "--attr", "smile=2", "--device", "cuda:x"], "no device 'cuda:x'"),
        (["evaluate", "run", "--device", "gpu"], "no device 'gpu'"),
        (["align", ""], "INPUT"),
        (["align", "raw", "-o", ""], "output is empty"),
        (["evaluate", "run", "--metrics", ""], "metrics is empty"),
    ],
)
def test_usage_errors_exit_2_and_name_the_culprit(ganinv: Any, api: Any, words: list[str], named: str) -> None:
    result = ganinv(*words)
    assert result.exit_code == 2, result.output
    assert named in result.stderr
    assert result.stdout == ""
    assert api.specs == []


def test_config_file_of_the_folder_is_read_and_the_command_line_wins(ganinv: Any, api: Any) -> None:
    Path("ganinv.toml").write_text(
        '[align]\nsize = 512\nmin-score = -0.5\nresume = false\n[edit]\nattr = "smile=+2"\n', encoding="utf-8"
    )
    assert ganinv("align", "raw").exit_code == 0
    assert ganinv("align", "raw", "--size", "256").exit_code == 0
    assert ganinv("edit").exit_code == 0
    assert [spec.size for spec in api.specs] == [512, 256, 1024]
    assert (api.specs[0].min_score, api.specs[0].resume) == (-0.5, False)
    assert [edit.name for edit in api.specs[2].edits] == ["smile+2"]


def test_config_option_names_another_file(ganinv: Any, api: Any) -> None:
    Path("other.toml").write_text('[edit]\nattr = ["smile=+2", "age=-1"]\noutput = "o"\n', encoding="utf-8")
    assert ganinv("--config", "other.toml", "edit").exit_code == 0
    assert [edit.name for edit in api.specs[0].edits] == ["smile+2", "age-1"]
    assert api.specs[0].output == Path("o")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[aling]\nsize = 3\n", "align"),
        ("[align]\nsiez = 3\n", "size"),
        ("[align\n", "TOML"),
        ("size = 3\n", "'size'"),
        ("align = 3\n", "[align]"),
        ("[weights.pul]\nall = true\n", "pull"),
        ('[align]\nsize = "big"\n', "--size"),
        ("[align]\noutput = 5\n", "--output takes a text in quotes, not 5"),
        ("[align]\nlimit = true\n", "--limit takes a whole number, not True"),
        ("[align]\nresume = 1\n", "--resume takes true or false, not 1"),
        ('[align]\nmin-score = "1"\n', "--min-score takes a number"),
        ("[edit]\nattr = [1]\n", "--attr takes a text in quotes, not 1"),
        ("[align]\nfaces = true\n", "--faces takes a text"),
        ("[train.encoder]\nlr = true\n", "--lr takes a number"),
        ("[weights.pull]\nall = 1\n", "--all takes true or false"),
    ],
)
def test_config_mistakes_are_named(ganinv: Any, api: Any, text: str, named: str) -> None:
    Path("ganinv.toml").write_text(text, encoding="utf-8")
    result = ganinv("align", "raw")
    assert result.exit_code == 2
    assert named in result.stderr


def test_a_config_file_of_other_editors(ganinv: Any, api: Any) -> None:
    Path("ganinv.toml").write_bytes(b"\xef\xbb\xbf[align]\nsize = 64\n")
    assert ganinv("align", "raw").exit_code == 0
    assert api.specs[0].size == 64
    for order in ("utf-16", "utf-16-be"):
        Path("ganinv.toml").write_bytes("\ufeff[align]\n".encode(order))
        result = ganinv("align", "raw")
        assert result.exit_code == 2
        assert "UTF-16" in result.stderr


def test_missing_config_file_is_a_usage_error(ganinv: Any) -> None:
    result = ganinv("--config", "nowhere.toml", "align", "raw")
    assert result.exit_code == 2
    assert "nowhere.toml" in result.stderr


def test_config_reaches_commands_of_sub_apps(tmp_path: Path) -> None:
    from typer.main import get_command

    from ganinv_cli.app import app

    path = tmp_path / "c.toml"
    path.write_text("[weights.pull]\nall = true\n[train.head]\nsteps = 5\n", encoding="utf-8")
    read = read_config(path, get_command(app))
    assert read == {"weights": {"pull": {"everything": True}}, "train": {"head": {"steps": 5}}}


def test_help_of_every_command(ganinv: Any) -> None:
    for words in ([], ["align"], ["invert"], ["edit"], ["evaluate"], ["weights"], ["train"], ["train", "head"]):
        result = ganinv(*words, "--help")
        assert result.exit_code == 0
        assert "Usage" in result.stdout


def test_the_shell_completes_metric_names(tmp_path: Path) -> None:
    environ = os.environ | {"PYTHONPATH": str(ROOT), "_GANINV_COMPLETE": "complete_bash"}
    environ |= {"COMP_WORDS": "ganinv evaluate --metrics lpips,ps", "COMP_CWORD": "3"}
    code = "from ganinv_cli.app import app; app(prog_name='ganinv')"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["lpips,psnr"], done.stderr


def test_train_lists_what_can_be_trained(ganinv: Any) -> None:
    listed = ganinv("train", "--help").stdout
    assert "head" in listed
    assert "directions" in listed


def test_train_runs_the_verb_and_prints_the_file(ganinv: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    called: list[Any] = []

    def train(spec: Any, store: Any, report: Any) -> Path:
        report({"step": 1, "loss": 0.5})
        called.append(spec)
        return Path(spec.output / "head.safetensors")

    fake = types.ModuleType("pipelines.training.run")
    fake.train = train  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pipelines.training.run", fake)
    result = ganinv("train", "head", "--steps", "7", "--json", "-o", "x")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["weights"] == str(Path("x/head.safetensors"))
    assert called == [HeadSpec(steps=7, output=Path("x"))]
    assert "loss 0.5" in result.stderr


def test_true_process_ends_with_the_code_and_one_line(tmp_path: Path) -> None:
    done = true_run("evaluate", cwd=tmp_path)
    assert done.returncode == 4
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1


def test_a_closed_pipe_is_no_complaint(tmp_path: Path) -> None:
    code = "import sys, os; os.close(sys.stdin.fileno())"
    line = f"'{sys.executable}' -m ganinv_cli.app --help | '{sys.executable}' -c '{code}'"
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(["sh", "-c", line], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_imports_point_down() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    if not linter.exists():
        pytest.skip("import-linter is not installed")
    done = subprocess.run([str(linter), "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
