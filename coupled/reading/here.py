"""The config of a run that was read, with the data set and the user's own code as they are on this machine."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from coupled.config import Config, from_tables
from coupled.config.load import tables_of


def config_here(path: Path, facts: Mapping[str, Any], data: str = "", code: Sequence[str] = ()) -> Config:
    """The config of the run at `path`, whose run.json holds `facts`.

    No run directory holds what `data` and `code` name: where the data set lies, and the files of its user's own code,
    which are run. UserError where they do not fit the run.
    """
    raw = tables_of(facts["config"])
    raw |= {"name": "here", "paths": {"data": data, "runs": str(path.absolute().parent)}}
    raw["code"] = {**raw.get("code", {}), "files": list(code)}
    return from_tables(raw)
