"""The storage layer: objects that are whole or absent, and the manifest that says which exist. Loads no torch."""

from coupled.store.audit import Audit, audit
from coupled.store.canonical import canonical_json, digest
from coupled.store.errors import Faults, StoreError
from coupled.store.fs import KILL_POINTS, REAL, FileSystem
from coupled.store.lock import RunLock
from coupled.store.manifest import Entry, Manifest, ManifestWriter, read_manifest
from coupled.store.objects import Committed, Objects, check_name, commit_object, object_path, verify_object
from coupled.store.prepare import RunState, prepare, remove_run, state
from coupled.store.recovery import Position, is_half_extended, mend, reopen
from coupled.store.rundir import (
    RunDirectory,
    checkpoint_folder,
    config_digest,
    preempt_folder,
    read_config_digest,
    shard_name,
)
from coupled.store.saved import Saved, parse_saved, read_saved
from coupled.store.tensors import Header, TensorFile, TensorInfo, open_tensors, read_header, to_bytes
from coupled.store.treehash import tree_hash

__all__ = [
    "KILL_POINTS",
    "REAL",
    "Audit",
    "Committed",
    "Entry",
    "Faults",
    "FileSystem",
    "Header",
    "Manifest",
    "ManifestWriter",
    "Objects",
    "Position",
    "RunDirectory",
    "RunLock",
    "RunState",
    "Saved",
    "StoreError",
    "TensorFile",
    "TensorInfo",
    "audit",
    "canonical_json",
    "check_name",
    "checkpoint_folder",
    "commit_object",
    "config_digest",
    "digest",
    "is_half_extended",
    "mend",
    "object_path",
    "open_tensors",
    "parse_saved",
    "preempt_folder",
    "prepare",
    "read_config_digest",
    "read_header",
    "read_manifest",
    "read_saved",
    "remove_run",
    "reopen",
    "shard_name",
    "state",
    "to_bytes",
    "tree_hash",
    "verify_object",
]
