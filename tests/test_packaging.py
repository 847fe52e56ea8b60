"""What a fresh installation gets: every package that is imported is declared, and the demo fetches what it needs."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

from pipelines.specs import EditSpec
from pipelines.stages.build import plan_chain
from pipelines.weights.catalogue import closure, load_catalogue
from pipelines.weights.config import StoreConfig
from pipelines.weights.store import WeightStore

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def names(requirements: list[str]) -> set[str]:
    """Normalised names of requirements."""
    return {re.split(r"[^A-Za-z0-9._-]", each)[0].lower().replace("_", "-") for each in requirements}


def imported(tree: ast.Module) -> set[str]:
    """Top-level names of absolute imports, those inside functions too."""
    nodes = list(ast.walk(tree))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    chosen = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    return {name.partition(".")[0] for name in plain | chosen}


def test_every_imported_package_is_declared() -> None:
    declared = names(PROJECT["dependencies"])
    for extra in ("heic", "train", "cluster", "remote", "video", "fid"):
        declared |= names(PROJECT["optional-dependencies"][extra])
    found: dict[str, Path] = {}
    for folder in ("pipelines", "ganinv_cli"):
        for path in (ROOT / folder).rglob("*.py"):
            found |= dict.fromkeys(imported(ast.parse(path.read_text(encoding="utf-8"))), path)
    foreign = set(found) - set(sys.stdlib_module_names) - {"pipelines", "ganinv_cli"}
    owners = {"dlib": ["dlib-bin"], **packages_distributions()}  # its files carry no list of names
    missing = {
        f"{name} ({found[name].relative_to(ROOT)})"
        for name in foreign
        if not {each.lower().replace("_", "-") for each in owners.get(name, [name])} & declared
    }
    assert not missing


def test_the_demo_fetches_what_its_three_lines_need(tmp_path: Path) -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    lists = {name: values.split() for name, values in re.findall(r"^(DEMO_\w+) = (.+)$", text, re.MULTILINE)}
    entries = load_catalogue()
    fetched = set(closure(entries, [*lists["DEMO_WEIGHTS"], *lists["DEMO_SAMPLES"]]))
    spec = EditSpec(inputs=(tmp_path,), output=tmp_path / "out", edits=("smile=+2",))
    needed = plan_chain(spec, WeightStore(StoreConfig(tmp_path / "home", offline=True))).weights
    also = closure(entries, ["landmarks-68", "st-lpips-alex", "id-dlib"])  # align; evaluate --metrics lpips,id
    assert {name for name in (*needed, *also) if not entries[name].packed} <= fetched
