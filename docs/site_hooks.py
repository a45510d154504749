"""What the site has that is no page of docs/: files from elsewhere in the repository, notebooks, the Python reference.

A link to a file of the repository leads to that file's page on the site, or to a copy of the file.
"""

import ast
import base64
import json
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
# A file of the repository, and the page that it is on the site. Its text is taken as it stands.
PAGES = {"README.md": "index.md", "runs/README.md": "format.md", "CHANGELOG.md": "changelog.md"}
SAME = {"CONTRIBUTING.md": "contributing.md"}
NOTEBOOKS = "docs/notebooks/"
LINK = re.compile(r"(\]\()([^)\s:#]+)(#[^)\s]*)?\)")


def public_names(package: str) -> list[str]:
    """The names in `__all__` of a package, read from its source without importing it."""
    for node in ast.parse((ROOT / package / "__init__.py").read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
    raise ValueError(f"{package}/__init__.py has no __all__")


def homes(package: str) -> dict[str, str]:
    """Where each public name is defined: the imports under TYPE_CHECKING, which static tools follow."""
    tree = ast.parse((ROOT / package / "__init__.py").read_text())
    imports = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module)
    return {alias.name: f"{node.module}.{alias.name}" for node in imports for alias in node.names}


def reference(package: str) -> str:
    """The Markdown of the page with every public name of a package."""
    found = homes(package)
    entries = [f"## {package}.{name}\n\n::: {found[name]}\n" for name in public_names(package)]
    head = f"# Python: {package}\n\nThe public names of `{package}`. All other names may change.\n"
    return "\n".join([head, *entries])


def moved(target: str, source: str) -> str:
    """A link of the repository's file `source`, as seen on the site; unchanged if it leads to a page of docs/."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    if path.startswith(NOTEBOOKS):
        path = path.replace(".ipynb", ".md")
    return PAGES.get(path) or SAME.get(path) or path.removeprefix("docs/")


def relinked(text: str, source: str) -> str:
    """The Markdown of a repository's file with its links as they are on the site; code blocks stay as they are."""
    return LINK.sub(lambda link: f"{link[1]}{moved(link[2], source)}{link[3] or ''})", text)


def linked_files() -> set[str]:
    """Files outside docs/ that a page links to, but for those that are pages themselves."""
    sources = [*PAGES, *(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md"))]
    targets = {
        posixpath.normpath(posixpath.join(posixpath.dirname(source), link[2]))
        for source in sources
        for link in LINK.finditer((ROOT / source).read_text())
    }
    return {path for path in targets - PAGES.keys() - SAME.keys() if not path.startswith("docs/")}


def notebook_page(path: str) -> tuple[str, dict[str, bytes]]:
    """The Markdown of a notebook with its outputs, and its figures: their names beside the page, and their bytes."""
    parts: list[str] = []
    figures: dict[str, bytes] = {}
    for cell in json.loads((ROOT / path).read_text())["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(LINK.sub(lambda link: f"{link[1]}../{moved(link[2], path)}{link[3] or ''})", source))
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "image/png" in data:
                name = f"{Path(path).stem}_{len(figures)}.png"
                figures[name] = base64.b64decode("".join(data["image/png"]))
                parts.append(f"![Figure drawn by the cell above]({name})")
            elif "text/html" in data:
                parts.append("<div>" + re.sub(r"\n\s*", "\n", "".join(data["text/html"])) + "</div>")
            else:
                text = "".join(output.get("text") or data.get("text/plain", []))
                parts.append(f"```text\n{text.rstrip()}\n```")
    return "\n\n".join(parts) + "\n", figures


def notebook_files(config: Any) -> Iterator[File]:
    """The page of each notebook, and its figures."""
    for source in sorted((ROOT / NOTEBOOKS).glob("*.ipynb")):
        page, figures = notebook_page(NOTEBOOKS + source.name)
        yield File.generated(config, f"notebooks/{source.stem}.md", content=page)
        for name, content in figures.items():
            yield File.generated(config, f"notebooks/{name}", content=content)


def on_files(files: Files, config: Any) -> Files:
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=relinked((ROOT / source).read_text(), source)))
    for package in ("coupled", "analysis"):
        files.append(File.generated(config, f"api_{package}.md", content=reference(package)))
    for file in notebook_files(config):
        files.append(file)
    for path in linked_files():
        files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    if page.file.generated_by:
        return markdown
    return relinked(markdown, f"docs/{page.file.src_uri}")
