"""The known objectives, their options, and those that a user's code registers."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from coupled.errors import UserError, unknown
from coupled.userfiles import calling_file, check_name

# N: all other samples, N-: those of another class, S: those of the same class. In the order that help shows.
OBJECTIVES: dict[str, str] = {
    "dcl": "contrastive, positive not in the denominator: -s_ip/τ + log Σ_N e^{s/τ}",
    "nt_xent": "SimCLR's: -s_ip/τ + log( e^{s_ip/τ} + Σ_N e^{s/τ} )",
    "nscl": "negatives of other classes only: -s_ip/τ + log( [e^{s_ip/τ}] + Σ_N- e^{s/τ} )",
    "homotopy": "from nscl (lam = 0) to dcl (lam = 1): -s_ip/τ + log( [e^{s_ip/τ}] + Σ_N- e^{s/τ} + lam Σ_S e^{s/τ} )",
    "scl": "supervised contrastive, L_out: mean over p of the same label of -s_ip/τ + log Σ_{a≠i} e^{s_ia/τ}",
    "ce": "cross-entropy of a linear classifier on z; not a function of the similarities",
}
NEEDS_LABELS = frozenset({"nscl", "homotopy", "scl", "ce"})
_TAKE_POSITIVE = ("nscl", "homotopy")
UserObjective = Callable[[Tensor, Tensor, float], Tensor]


@dataclass(frozen=True)
class Objective:
    """What an arm minimises, temperature and labelling aside: a name of `known()` and the options that it takes.

    `positive_in_denominator`: nscl and homotopy only. `lam`: λ in [0, 1], for homotopy only, which needs it.
    """

    name: str
    positive_in_denominator: bool = False
    lam: float | None = None


@dataclass(frozen=True)
class _Registered:
    function: UserObjective
    origin: str  # the file that registered it


_registered: dict[str, _Registered] = {}


def register_objective(name: str) -> Callable[[UserObjective], UserObjective]:
    """Decorator that makes a function an objective, known by `name` for the life of the process.

    The function takes Σ (A, A), float32 or float64, labels int64 (B,), and τ, and returns the losses of the anchors
    (A,) or their mean, 0-d, differentiable in Σ. It draws nothing at random. The file that calls this may do so again,
    which replaces. Raises UserError for a name that is taken, or not made of letters, digits, '_' and '-'.
    """
    origin = calling_file()
    others = name in _registered and _registered[name].origin != origin
    check_name("objective", name, taken=others or name in OBJECTIVES)

    def register(function: UserObjective) -> UserObjective:
        _registered[name] = _Registered(function, origin)
        return function

    return register


def registered(name: str) -> UserObjective | None:
    """The function of a registered objective; None for a built-in or unknown one."""
    return _registered[name].function if name in _registered else None


def forget(name: str) -> None:
    """Take back a registration, if there is one."""
    _registered.pop(name, None)


def known(*, built_in: bool = False) -> list[str]:
    """The names of all objectives: built-in ones, then (unless `built_in`) registered ones in their order."""
    return [*OBJECTIVES] if built_in else [*OBJECTIVES, *_registered]


def is_function_of_sigma(name: str) -> bool:
    """Can the objective be evaluated on any Σ? ce cannot: it needs its own classifier."""
    return name != "ce"


def positive_gap(objective: Objective) -> bool:
    """Does its denominator hold the positive, so that the gap with the positive is its own? nt_xent; nscl and homotopy
    with the flag. (scl holds it too, but no other loss differs from scl by a same-class sum alone.)
    """
    return objective.name == "nt_xent" or (objective.name in _TAKE_POSITIVE and objective.positive_in_denominator)


def validate(objective: Objective, where: str) -> None:
    """Raise UserError for an unknown name, an option that the objective does not take, or λ missing or outside [0, 1].

    `where` stands before the key in the message: "arms.x." for a config, "" for a call.
    """
    name, lam = objective.name, objective.lam
    if name not in known():
        raise unknown(f"{where}objective", name, known())
    if objective.positive_in_denominator and name not in _TAKE_POSITIVE:
        do = {
            "dcl": 'use objective = "nt_xent": it is dcl with the positive in the denominator',
            "nt_xent": "remove it: the positive is in its denominator already",
        }
        allowed = "only nscl and homotopy take it"
        raise UserError(f"{where}positive_in_denominator for {name}", allowed, do.get(name, "remove it"))
    if name != "homotopy" and lam is not None:
        raise UserError(f"{where}lam = {lam} for {name}", "only homotopy takes it", "remove it")
    if name != "homotopy":
        return
    if lam is None:
        raise UserError(f"{where}lam is missing", "homotopy needs 0 ≤ lam ≤ 1", "0 is nscl, 1 is dcl")
    if isinstance(lam, bool) or not isinstance(lam, int | float) or not 0 <= lam <= 1:
        raise UserError(f"{where}lam = {lam}", "a number with 0 ≤ lam ≤ 1", "0 is nscl, 1 is dcl")
