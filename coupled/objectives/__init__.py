"""Objectives of Σ: `loss` by name, and the registry that a user's own join."""

from coupled.objectives.losses import loss
from coupled.objectives.registry import register_objective

__all__ = ["loss", "register_objective"]
