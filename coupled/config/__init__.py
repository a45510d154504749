"""Config: frozen dataclasses from TOML and `--set`, one validator, canonical digest."""

from coupled.config.fields import Schedule
from coupled.config.identity import digest, fingerprint, resolved
from coupled.config.load import from_resolved, from_tables, load
from coupled.config.resolved import Arm, Config

__all__ = ["Arm", "Config", "Schedule", "digest", "fingerprint", "from_resolved", "from_tables", "load", "resolved"]
