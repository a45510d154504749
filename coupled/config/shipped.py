"""The configs that come with the package, found by name wherever it is installed."""

from pathlib import Path
from typing import Final

from coupled.errors import unknown

# In the repository a link to configs/ at its top, in a wheel the files themselves.
FOLDER: Final = Path(__file__).parents[1] / "shipped_configs"


def names() -> list[str]:
    """Every shipped config and sweep: "quickstart", "sweeps/seeds"."""
    return sorted(path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.toml"))


def located(given: Path) -> Path:
    """The path of a config that a user names: a file, or a shipped one by its name. UserError for a bare name that is
    neither.
    """
    name = given.as_posix()
    if given.exists() or given.suffix or given.is_absolute() or ".." in given.parts:
        return given
    if name not in names():
        raise unknown("config", name, names())
    return FOLDER / f"{name}.toml"
