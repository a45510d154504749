"""Encoders of a user's own by the config: their builders' defaults are values that [model] may have."""

import dataclasses

from coupled.config.fields import allowed, within
from coupled.config.schema import Model
from coupled.errors import UserError
from coupled.models.registry import registered


def check_defaults(encoder: str) -> None:
    """UserError where a registered encoder has a default that [model] may not have: a run that holds it could not be
    read back.
    """
    own = registered(encoder)
    limits = {field.name: field.metadata for field in dataclasses.fields(Model)}
    for key, default in ({} if own is None else own.options).items():
        of = limits[key]
        if default is not None and not (default in of["choices"] if of["choices"] else within(default, of)):
            assert own is not None
            builder = getattr(own.build, "__name__", "its function")
            raise UserError(
                f"{own.origin}: encoder {encoder}: {builder} has {key} = {default!a}",
                f"{allowed(of)}, as model.{key}",
                "give it such a default, or none",
            )
