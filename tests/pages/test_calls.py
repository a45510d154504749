"""The commands of every page that look at a run: called on a tiny one."""

import page_calls
import pytest
from page_checks import commands_of, none_of, of_commands


@pytest.mark.parametrize("page", of_commands(page_calls.on_a_tiny_run))
def test_the_commands_of_a_page_run_on_a_tiny_run(page, place, capsys):
    place(page)
    called = commands_of(page, marked=False)
    faults = [page_calls.fault(each, page_calls.on_a_tiny_run(each), capsys) for each in called]
    none_of(faults)
