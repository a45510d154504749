"""What a command on a run has to be given again, as no run holds it: where its data lie, its user's own code."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from coupled.config.toml_value import toml_value
from coupled.terminal.shell import shell


class Again(NamedTuple):
    """Options, each with a space before it, of `coupled-run verify` and of `coupled-run resume`."""

    verify: str = ""
    resume: str = ""


def again(facts: Mapping[str, Any], data: str, code: Sequence[str], *, lost: bool = False) -> Again:
    """The options for the run whose run.json holds `facts`: `data` and `code` as they were given, and names that stand
    for them where they were not, but the run needs them. `lost`: its data set is not there.
    """
    files = list(code) or ["FILE.py"] * len(facts["config"].get("code", {}).get("sha256", ()))
    folder = "FOLDER" if lost else data
    to_verify = [f"--data {shell(folder)}"] if folder else []
    to_resume = [f"--set {shell(f'paths.data={folder}')}"] if folder else []
    to_verify += [f"--code {shell(file)}" for file in files]
    to_resume += [f"--set {shell(f'code.files={toml_value(files)}')}"] if files else []
    return Again(*("".join(f" {option}" for option in options) for options in (to_verify, to_resume)))
