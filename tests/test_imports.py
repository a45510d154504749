"""The order of imports: `analysis` looks at `coupled`, never the other way, and nothing goes in a circle."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("coupled", "analysis")
    for path in sorted((ROOT / package).rglob("*.py"))
}


def imported(path, *, top_level):
    """The modules of ours that a file imports; at the top level only, or inside functions as well."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in tree.body if top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            # `from a import b` may mean the module a.b.
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in names}
    return {name for name in found if name.partition(".")[0] in ("coupled", "analysis")}


def test_the_walk_sees_imports():
    assert "coupled.theory.alignment" in imported(ROOT / "analysis" / "arrays" / "alignment.py", top_level=True)
    assert len(MODULES) > 40


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("coupled")])
def test_coupled_never_imports_analysis(name):
    assert not {other for other in imported(MODULES[name], top_level=False) if other.startswith("analysis")}


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("analysis")])
def test_analysis_imports_neither_driver_nor_commands_nor_launch(name):
    barred = ("coupled.driver", "coupled.cli", "coupled.commands", "coupled.launch")
    assert not {other for other in imported(MODULES[name], top_level=False) if other.startswith(barred)}


def test_no_module_imports_itself_by_way_of_others():
    graph = {name: imported(path, top_level=True) for name, path in MODULES.items()}
    TopologicalSorter(graph).prepare()  # CycleError names the circle
