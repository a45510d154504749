"""Many processes as one run: ranks in a mesh of arms × data."""

from coupled.ranks.mesh import ALONE, Mesh
from coupled.ranks.placement import Placement, place

__all__ = ["ALONE", "Mesh", "Placement", "place"]
