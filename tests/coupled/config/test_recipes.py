"""What the papers' recipes say in their heads of what they take."""

import re
from pathlib import Path

import pytest

from coupled.config import load
from coupled.planning.plan import plan

ROOT = Path(__file__).parents[3]
CONFIGS = sorted((ROOT / "configs").glob("*.toml"))


@pytest.mark.parametrize(
    "path", [path for path in CONFIGS if "by coupled-run plan" in path.read_text()], ids=lambda p: p.stem
)
def test_what_a_recipe_says_of_a_gpu_is_what_plan_and_the_page_say(path):
    text = re.sub(r"\n# ?", " ", path.read_text())
    assert f"plan: {plan(load(path), 1).memory / 1e9:.0f} GB with five arms" in text
    network, *times = re.search(
        r"a step of (ResNet-\d+) takes (\d+) ms in float32, (\d+) with TF32 and (\d+) in bf16", text
    ).groups()
    page = (ROOT / "docs/gpu.md").read_text()
    for numbers, time in zip(("float32", "TF32", "bf16"), times, strict=True):
        assert f"\n| {network} | {numbers} | 1024 | {time} |" in page
