"""What the tests of pages have in common: the blocks of every page, the commands among them, and what is wrong."""

import page_commands
import page_place
import pytest
from page_blocks import blocks_of, pages

from coupled.errors import UserError

BLOCKS = {page: blocks_of(page) for page in pages()}
SLOW = {"docs/evaluation.md", "docs/papers.md", "docs/papers_code.md"}  # they evaluate checkpoints, plan ResNets


def of(*languages):
    """(page, blocks) of the pages that have blocks in one of these languages."""
    chosen = {page: [block for block in own if block.language in languages] for page, own in BLOCKS.items()}
    return [pytest.param(page, own, id=page, marks=_marks(page)) for page, own in chosen.items() if own]


def commands_of(page, *, marked=True):
    """The commands of a page; `marked`: with those of blocks that are marked as not run."""
    own = (block for block in BLOCKS[page] if page_commands.is_commands(block) and (marked or not block.reason))
    return [command for block in own for command in page_commands.commands(block)]


def of_commands(which):
    """The pages that have a command of a kind."""
    return [pytest.param(page, marks=_marks(page)) for page in BLOCKS if any(map(which, commands_of(page)))]


def _marks(page):
    return [pytest.mark.slow] if page in SLOW else []


def none_of(faults):
    """Fails with the faults, a line each, and nothing else; None is no fault."""
    if any(faults):
        pytest.fail("\n".join(filter(None, faults)), pytrace=False)


def load_toml(page, folder):
    """What is wrong with the TOML of a page."""
    earlier = []
    for block in (block for block in BLOCKS[page] if block.language == "toml"):
        try:
            page_place.check_toml(block, earlier, folder)
        except (UserError, ValueError) as error:
            yield f"{block.where}: {error}"
        earlier.append(block)
