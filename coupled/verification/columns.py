"""Whether the shards hold every row that the config schedules: the manifest's lines say only which shards there are."""

from coupled.reading.shard_rules import check_shard
from coupled.reading.shards import Shards
from coupled.verification.rebuilt import Progress, Rebuilt, Words


def check_columns(here: Rebuilt, shards: Shards, told: Progress) -> Words:
    """Every shard has the columns, shapes and steps that are scheduled, and no others. StoreError names the first."""
    every = [(stream, owner, entry) for (stream, owner), entries in shards.entries.items() for entry in entries]
    tensors = 0
    for number, (stream, owner, entry) in enumerate(every, 1):
        file = shards.open(stream, owner, entry)
        check_shard(file, shards.layout[stream][owner], here.config, stream, entry.first, entry.last)
        tensors += len(file.header.tensors)
        told("columns", number, len(every))
    if not every:
        return [], ["records: none is committed yet, or the config records nothing"]
    return [f"whole: {len(every)} shards hold the {tensors} columns and the very steps that the config schedules"], []
