"""What both programs load before they know what is asked: nothing that takes seconds."""

import subprocess
import sys
from importlib import import_module

import pytest

import analysis
import analysis.commands
import coupled
import coupled.commands

pytestmark = pytest.mark.slow  # a process or two a test
HEAVY = ("torch", "torchvision", "numpy", "numba", "rich", "matplotlib", "plotly", "PIL", "safetensors", "scipy")
PARSERS = {
    "coupled": "from coupled.commands import parser; parser().format_help()",
    "analysis": "from analysis.commands import parser; parser().format_help()",
    "coupled-run --help": "from coupled.cli import main; main(['--help'])",
    "coupled-analyze --help": "from analysis.cli import main; main(['--help'])",
    "coupled-run nonsense": "from coupled.cli import main; main(['nonsense'])",
}


def loaded_by(code):
    """The packages outside the standard library that a process of its own has loaded after `code`."""
    show = "import sys; print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{show}"], capture_output=True, text=True, check=True)
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize("name", PARSERS)
def test_neither_parser_nor_help_loads_what_takes_seconds(name):
    assert not loaded_by(PARSERS[name]) & set(HEAVY)


def test_the_test_sees_what_a_command_loads():
    assert {"torch", "numpy"} <= loaded_by("import coupled.commands.plan")


@pytest.mark.parametrize("package", [coupled.commands, analysis.commands])
def test_every_command_has_a_module_and_a_purpose(package):
    for name, purpose in package.COMMANDS.items():
        module = import_module(f"{package.__name__}.{name}_" if name == "import" else f"{package.__name__}.{name}")
        assert callable(module.add) and callable(module.run) and purpose


@pytest.mark.parametrize("package", [coupled, analysis])
def test_every_public_name_is_handed_on(package):
    assert sorted(package.__all__) == sorted(package._HOMES)
    for name in package.__all__:
        assert getattr(package, name) is getattr(import_module(package._HOMES[name]), name)


def test_functions_keep_the_names_that_packages_of_theirs_have():
    for name in ("bounds", "curves", "divergence"):
        assert import_module(f"analysis.{name}") is not getattr(analysis, name)
        assert callable(getattr(analysis, name))


def test_deterministic_kernels_do_not_load_the_compiler():
    code = "import torch; from coupled import runtime, load; runtime.configure(load('configs/quickstart.toml'))"
    check = "assert torch.are_deterministic_algorithms_enabled(); assert 'torch._dynamo' not in sys.modules"
    subprocess.run([sys.executable, "-c", f"import sys; {code}; {check}"], check=True)


def test_a_plan_loads_neither_the_compiler_nor_torchvision():
    code = "from coupled.cli import main; main(['plan', 'configs/cifar10_resnet50.toml'])"
    check = "assert not {'torch._dynamo', 'torchvision', 'numba'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", f"import sys; {code}; {check}"], check=True, stdout=subprocess.DEVNULL)
