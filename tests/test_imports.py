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
# Both hand on names of their modules, lazily; what they import is for types alone.
LAZY = ("coupled", "analysis")
# What a reader of runs must not load: all that trains, writes, starts processes or is a command.
BARRED = ("driver", "ranks", "recording.recorder", "commands", "cli", "bench", "verification")


def names_in(path, tree):
    """The modules of ours that the import statements of a tree name."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            # `from a import b` may mean the module a.b.
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in MODULES else node.module for name in full}
    return {name for name in names if name in MODULES}


def imported(name):
    """The modules of ours that a module imports, at its top or inside functions."""
    path = MODULES[name]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if name in LAZY:
        return set()
    return names_in(path, tree) - {name}


GRAPH = {name: imported(name) for name in MODULES}


def packages_of(name):
    """The packages that python loads before a module."""
    parts = name.split(".")
    return {".".join(parts[:i]) for i in range(1, len(parts))}


def loaded(name):
    """What comes before a module is whole: the modules it imports, and the packages of these but for its own."""
    packages = {package for other in GRAPH[name] for package in packages_of(other)}
    return GRAPH[name] | (packages - packages_of(name) - {name})


def reached(start):
    """Every module that loading `start` may load, by way of others too."""
    seen, waiting = set(), [start]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += [*GRAPH[name], *packages_of(name)]
    return seen


def is_barred(name):
    return any(name == f"coupled.{bar}" or name.startswith(f"coupled.{bar}.") for bar in BARRED)


def test_the_walk_sees_imports():
    assert "coupled.theory.alignment" in GRAPH["analysis.arrays.alignment"]
    assert "coupled.driver.loop" in reached("coupled.commands.train")
    assert all(any(is_barred(name) for name in MODULES if f"coupled.{bar}" in name) for bar in BARRED)
    assert len(MODULES) > 40


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("coupled")])
def test_coupled_never_imports_analysis(name):
    assert not {other for other in GRAPH[name] if other.startswith("analysis")}


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("analysis")])
def test_analysis_reaches_nothing_that_trains_writes_or_commands(name):
    assert not sorted(filter(is_barred, reached(name)))


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("coupled.reading")])
def test_reading_a_run_loads_nothing_that_writes_one(name):
    assert not sorted(filter(is_barred, reached(name)))


def test_no_module_imports_itself_by_way_of_others():
    TopologicalSorter({name: loaded(name) for name in MODULES}).prepare()  # CycleError names the circle


def room(name):
    """The package of ours that a module is in, such as coupled.store."""
    return ".".join(name.split(".")[:2])


def test_no_package_imports_itself_by_way_of_others():
    rooms = {}
    for name, others in GRAPH.items():
        rooms.setdefault(room(name), set()).update({room(other) for other in others} - {room(name)})
    TopologicalSorter(rooms).prepare()  # CycleError names the circle


@pytest.mark.parametrize("name", [name for name in MODULES if name not in LAZY])
def test_nothing_of_ours_is_imported_for_types_alone(name):
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    assert not any(isinstance(node, ast.Name) and node.id == "TYPE_CHECKING" for node in ast.walk(tree))
