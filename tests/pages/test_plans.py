"""The commands of every page that take a config or a sweep: planned, loaded."""

from contextlib import suppress

import page_calls
import page_commands
import pytest
from page_blocks import ROOT, blocks
from page_checks import commands_of, load_toml, none_of, of_commands

from coupled.errors import UserError
from coupled.sweeps.reading import load as load_sweep


@pytest.mark.parametrize("page", of_commands(page_calls.of_config))
def test_the_configs_of_a_pages_commands_can_be_planned(page, place, capsys):
    with suppress(UserError):
        list(load_toml(page, place(page)))  # which writes the configs that the page shows
    faults = [
        page_calls.fault(each, page_calls.planned(each), capsys)
        for each in commands_of(page)
        if page_calls.of_config(each)
    ]
    none_of(faults)


@pytest.mark.parametrize("page", of_commands(page_calls.of_sweep))
def test_the_sweeps_of_a_pages_commands_load(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    for command in filter(page_calls.of_sweep, commands_of(page)):
        asked = page_commands.parsed(command)
        assert load_sweep(asked.sweep, asked.set).points, command.where


def test_the_plan_of_a_config_that_is_not_there_is_a_fault(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    (block,) = blocks("x.md", "    coupled-run train configs/absent.toml\n")
    (command,) = page_commands.commands(block)
    for _ in range(2):  # also where another page has called it
        fault = page_calls.fault(command, page_calls.planned(command), capsys)
        assert "x.md:1: exit code 2: coupled-run: config configs/absent.toml" in fault
