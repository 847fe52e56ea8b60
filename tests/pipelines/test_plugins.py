"""Parts from outside: modules and files are imported once, and what goes wrong is one sentence."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from pipelines import plugins
from pipelines.errors import UsageError
from pipelines.registry import Registry

PART = """
from tests.pipelines.test_plugins import parts
parts.add("mine", 1)
"""
parts: Registry[int] = Registry("part")


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(parts, "_entries", {})
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


def test_a_file_registers_its_parts_once(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(PART)
    plugins.load(["own.py"])
    plugins.load(["./own.py", str(tmp_path / "own.py")])  # a second import would register twice, which raises
    assert parts.get("mine") == 1


def test_a_module_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "own_module_of_parts.py").write_text(PART)
    plugins.load(["own_module_of_parts"])
    assert parts.names() == ["mine"]


def test_installed_packages_announce_theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_package_of_parts.py").write_text(PART)
    point = EntryPoint("own", "own_package_of_parts", plugins.GROUP)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point] if group == plugins.GROUP else [])
    plugins.load()
    assert parts.names() == ["mine"]


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("nowhere.py", None, "FileNotFoundError"),
        ("no_such_module_of_parts", None, "ModuleNotFoundError"),
        ("half_made_parts.py", "1 / 0", "ZeroDivisionError"),
        ("odd_parts.py", "def", "SyntaxError"),
    ],
)
def test_what_cannot_be_imported_is_one_sentence_every_time(
    tmp_path: Path, name: str, text: str | None, reason: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    for _ in range(2):
        with pytest.raises(UsageError, match=reason) as caught:
            plugins.load([name])
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not any(name.removesuffix(".py") in module for module in sys.modules)
