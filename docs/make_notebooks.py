"""Execute the notebooks: docs/notebooks/NAME.py, in jupytext's percent format, becomes NAME.ipynb with its outputs.

python docs/make_notebooks.py [NAME …]
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

FOLDER = Path(__file__).parent / "notebooks"
SECONDS = 300  # for one cell


def sources() -> list[Path]:
    """The notebooks as they are written."""
    return sorted(FOLDER.glob("*.py"))


def executed(source: Path, folder: Path) -> NotebookNode:
    """The notebook run from its first cell in a process of its own, with `folder` as its working directory.

    Raises nbclient's CellExecutionError where a cell fails.
    """
    notebook = jupytext.read(source)
    client = NotebookClient(
        notebook,
        timeout=SECONDS,
        coalesce_streams=True,
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"  # not drawn at random: an unchanged notebook stays the same file
        cell.metadata.pop("execution", None)  # when each cell ran
    return notebook


def main(names: list[str]) -> None:
    """Execute and write the notebooks of these names, or all."""
    for source in sources():
        if not names or source.stem in names:
            with TemporaryDirectory() as folder:
                nbformat.write(executed(source, Path(folder)), source.with_suffix(".ipynb"))
            print(source.with_suffix(".ipynb"))


if __name__ == "__main__":
    main(sys.argv[1:])
