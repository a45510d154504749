"""What the tests of probes ask for, and one of the curves that they get."""

ASKED = {"shots": [1, 4, None], "draws": 3}
CLASSIFIERS = ("centre", "linear", "knn5", "knn10", "knn20")


def one(curves, **facts):
    """The one curve of these facts."""
    facts = {"labelling": "texture", "measure": "accuracy", **facts}
    (curve,) = [c for c in curves if all(getattr(c, name) == value for name, value in facts.items())]
    return curve
