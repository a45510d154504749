"""The page itself: it needs no network, and says what cannot be drawn."""

import json
import subprocess

import pytest

from analysis.watch.content import content
from analysis.watch.following import Following
from analysis.watch.server import _FILES, PageServer


def test_the_page_loads_nothing_from_elsewhere():
    parts = {name: made().decode() for name, (_, made) in _FILES.items() if name != "plotly.js"}
    for text in parts.values():
        assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    for name in ("title", "words", "banner", "bar", "facts", "arms", "axis", "charts", "empty"):
        assert f'at("{name}")' in parts["watch.js"] and f'id="{name}"' in parts[""]


@pytest.mark.slow
def test_a_drawing_that_fails_after_a_click_is_said_on_the_page(trained, tmp_path, monkeypatch):
    """In Chromium, with a library in plotly's place that draws once and then fails."""
    calls = "let calls = 0; const react = () => { if (++calls > 1) throw new Error('no more'); };"
    click = 'setTimeout(() => at("axis").dispatchEvent(new Event("change")), 1000);'
    watch = _FILES["watch.js"][1]().decode().replace("setTimeout(ask, EVERY_MS);", "") + click
    monkeypatch.setitem(_FILES, "watch.js", ("text/javascript", watch.encode))
    monkeypatch.setitem(_FILES, "plotly.js", ("text/javascript", f"{calls} window.Plotly = {{ react }};".encode))
    given = json.loads(content(Following(trained)))
    with PageServer() as server:
        server.show(json.dumps(given | {"charts": given["charts"][:1]}).encode())
        flags = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync"
        flags += " --disable-component-update --dump-dom --virtual-time-budget=5000"
        command = ["chromium", *flags.split(), f"--user-data-dir={tmp_path}", server.url]
        page = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert "The page cannot show what it was given: Error: no more." in page
