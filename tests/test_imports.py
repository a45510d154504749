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


def imported(path):
    """The modules of ours that a file imports: at its top, inside functions, or for types only."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            # `from a import b` may mean the module a.b.
            dotted = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in MODULES else node.module for name in dotted}
    return {name for name in names if name.partition(".")[0] in ("coupled", "analysis")}


def packages(name):
    """The packages that a module lies in, which Python imports before it."""
    parts = name.split(".")
    return {".".join(parts[:depth]) for depth in range(1, len(parts))}


def loaded(name):
    """The modules of ours that come before `name` is whole: those it imports, and their packages but for its own."""
    direct = imported(MODULES[name])
    return direct | {package for other in direct for package in packages(other)} - packages(name) - {name}


def test_the_walk_sees_imports():
    assert "coupled.theory.alignment" in imported(ROOT / "analysis" / "arrays" / "alignment.py")
    assert len(MODULES) > 40


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("coupled")])
def test_coupled_never_imports_analysis(name):
    assert not {other for other in imported(MODULES[name]) if other.startswith("analysis")}


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("analysis")])
def test_analysis_imports_neither_driver_nor_commands_nor_launch(name):
    barred = ("coupled.driver", "coupled.cli", "coupled.commands", "coupled.launch")
    assert not {other for other in imported(MODULES[name]) if other.startswith(barred)}


def test_no_module_imports_itself_by_way_of_others():
    """Imports inside functions and for types count too. The names that `coupled` looks up when asked for do not."""
    graph = {name: loaded(name) for name in MODULES if name != "coupled"}
    TopologicalSorter(graph).prepare()  # CycleError names the circle


@pytest.mark.parametrize("name", [name for name in MODULES if name != "coupled"])
def test_nothing_of_ours_is_imported_for_types_alone(name):
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    assert not any(isinstance(node, ast.Name) and node.id == "TYPE_CHECKING" for node in ast.walk(tree))
