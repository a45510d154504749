"""Image sets as the library `datasets` 5.2 writes them to disk, by pyarrow alone: the files it made were looked at."""

import io
import json

import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import parquet

FEATURES = {
    "img": {"_type": "Image"},
    "fine": {"names": ["ant", "bee", "cat", "dog"], "_type": "ClassLabel"},
    "coarse": {"names": ["insect", "mammal"], "_type": "ClassLabel"},
    "note": {"dtype": "string", "_type": "Value"},
}


def picture(seed, kind="PNG"):
    """The bytes of a file of random pixels, and these, (H, W, 3)."""
    drawn = np.random.default_rng(seed).integers(0, 256, (20 + seed % 5, 30, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(drawn).save(file, kind)
    return file.getvalue(), drawn


def table(count, seed=0, **columns):
    images = [{"bytes": picture(seed + k)[0], "path": None} for k in range(count)]
    held = {"img": pa.array(images, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))}
    held["fine"] = pa.array([k % 4 for k in range(count)], pa.int64())
    held["coarse"] = pa.array([k % 4 // 2 for k in range(count)], pa.int64())
    held["note"] = pa.array(["no image"] * count)
    return pa.table({**held, **columns})


def save(folder, split, features=None):
    """As save_to_disk writes a split, in two files."""
    folder.mkdir(parents=True)
    half = len(split) // 2
    names = [f"data-0000{k}-of-00002.arrow" for k in range(2)]
    for name, part in zip(names, (split.slice(0, half), split.slice(half)), strict=True):
        with pa.OSFile(str(folder / name), "wb") as file, pa.ipc.new_stream(file, split.schema) as stream:
            stream.write_table(part)
    (folder / "dataset_info.json").write_text(json.dumps({"features": features or FEATURES}))
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))


def save_parquet(path, split, features=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    described = json.dumps({"info": {"features": features or FEATURES}})
    parquet.write_table(split.replace_schema_metadata({"huggingface": described}), path)
