"""Features on disk: what is stale or damaged is never read."""

import numpy as np
import pytest

from analysis.evaluation import cache


@pytest.fixture
def stored(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "PART_BYTES", 3 * 8)
    table = cache.table(tmp_path, "cl", {"ids": "a"}, 7, 8)
    for part in range(table.parts):
        rows = table.rows_of(part)
        table.write(part, {"h": np.arange(rows.start, rows.stop, dtype=np.float64)})
    return table


def rows(stored):
    return np.concatenate([part["h"] for part in stored.opened()]).tolist()


def test_parts_together_are_the_rows(stored):
    assert stored.parts == 3 and stored.missing() == [] and not stored.absent()
    assert rows(stored) == list(range(7))


def test_other_facts_are_another_table(stored):
    root = stored.folder.parent
    for facts in ({"ids": "b"}, {"ids": "a", "size": 3}, {}):
        assert cache.table(root, "cl", facts, 7, 8).missing() == [0, 1, 2]
    assert cache.table(root, "cl", {"ids": "a"}, 7, 8).missing() == []


@pytest.mark.parametrize("spoil", ["flip", "cut", "empty", "swap", "rename", "gone"])
def test_a_damaged_part_is_missing_and_made_again(stored, spoil):
    first, second = sorted(stored.folder.iterdir())[:2]
    data = bytearray(second.read_bytes())
    data[-1] ^= 1
    other = first.read_bytes()
    second.write_bytes({"flip": data, "cut": data[:-1], "empty": b"", "swap": other}.get(spoil, second.read_bytes()))
    if spoil == "rename":  # under the number of another part, with a hash that fits
        second.rename(second.with_name(second.name.replace("00001", "00002")))
    if spoil == "gone":
        second.unlink()
    assert 1 in stored.missing()
    stored.write(1, {"h": np.arange(3.0, 6.0)})
    assert rows(stored) == list(range(7))


def test_a_part_of_another_size_is_not_read(stored):
    stored.write(2, {"h": np.arange(2.0)})
    assert stored.missing() == [2]


def test_what_else_lies_in_the_folder_is_left_alone(stored):
    (stored.folder / "notes.txt").write_text("mine")
    (stored.folder / ("part-00000-" + "0" * 64 + ".safetensors")).mkdir()
    assert stored.missing() == []
