"""The bounds on few-shot error as they are written down, in float64 loops over samples and pairs; and measured errors.

RIGHT are the factors that a mutant has otherwise.
"""

import math
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import torch

from analysis.arrays.nearest_centre import hits

RIGHT = {"g": -1, "classes": 1, "centres": 2, "margin": 1, "directional": 4, "norms": 2, "fourth": 1, "traces": 4}


def moments(h, labels):
    """v, M4 (C,), squared distances, Ṽ and traces (C, C): loops."""
    h = np.asarray(h, np.float64)
    groups = [h[np.asarray(labels) == c] for c in np.unique(labels)]
    means = [a.mean(0) for a in groups]
    rest = [[x - mean for x in a] for a, mean in zip(groups, means, strict=True)]
    C = len(groups)
    squares = [[float(sum(y * y for y in x)) for x in a] for a in rest]
    v, M4 = [np.mean(a) for a in squares], [np.mean([s * s for s in a]) for a in squares]
    d2, along, traces = np.zeros((3, C, C))
    for i in range(C):
        for j in range(C):
            delta = means[i] - means[j]
            d2[i, j] = sum(delta * delta)
            if d2[i, j]:
                along[i, j] = np.mean([np.dot(x, delta) ** 2 for x in rest[i]]) / d2[i, j] ** 2
            traces[i, j] = np.mean([[np.dot(x, y) ** 2 for y in rest[j]] for x in rest[i]])
    return SimpleNamespace(C=C, v=v, M4=M4, d2=d2, along=along, traces=traces)


def p1_at(of, m, a, g=-1, classes=1, centres=2, **_):
    """The first paper's bound at one a: means over ordered pairs, times C − 1."""
    pairs = [(i, j) for i in range(of.C) for j in range(of.C) if i != j]
    V = np.mean([of.v[i] / of.d2[i, j] for i, j in pairs])
    roots = np.mean([math.sqrt(of.v[i] / of.d2[i, j]) for i, j in pairs])
    along = np.mean([of.along[i, j] for i, j in pairs])
    slope = 0.5 + g * 2 / a + g * 2**1.5 / (a * m)
    return (of.C - 1) ** classes * (along / slope**2 + a / 4 * (centres / math.sqrt(m) * (roots + V) + V / m))


def allowed_a(m, count=4001):
    """Many a of the theorem, from the least one on."""
    return max(5.0, 4 + 2**2.5 / m) + np.geomspace(1e-9, 1e4, count)


def p1(of, m, **factors):
    return min(p1_at(of, m, a, **factors) for a in allowed_a(m))


def margin(of, m, i, j, sign=1):
    return 1 + sign * (of.v[j] - of.v[i]) / (m * of.d2[i, j]) if of.d2[i, j] else 0


def p3(of, m, **factors):
    factors = RIGHT | factors
    total = 0.0
    for i in range(of.C):
        for j in set(range(of.C)) - {i}:
            c = margin(of, m, i, j, factors["margin"])
            if c <= 0:
                total += 1
                continue
            V = (of.v[i] + of.v[j]) / of.d2[i, j]
            theta = (of.M4[i] + of.M4[j]) / of.d2[i, j] ** 2
            e1, e2 = 4 / m * (V**2 + V / 4), V / m
            e3 = (factors["fourth"] * theta + factors["norms"] * (m - 1) * V**2) / m**3
            roots = math.sqrt(e1) + math.sqrt(e2) + math.sqrt(e3)
            total += (factors["directional"] * of.along[i, j] + roots**2) / c**2
    return total / of.C


def cantelli(of, m, **factors):
    factors = RIGHT | factors
    total = 0.0
    for i in range(of.C):
        row = 0.0
        for j in set(range(of.C)) - {i}:
            c = margin(of, m, i, j, factors["margin"])
            if c <= 0:
                row += 1
                continue
            d4 = of.d2[i, j] ** 2
            E = 0.0
            for k in (i, j):
                spread = factors["fourth"] * (of.M4[k] - of.v[k] ** 2) + factors["norms"] * (m - 1) * of.traces[k, k]
                E += spread / (m**3 * d4)
            shared = factors["traces"] * (of.traces[i, i] + of.traces[i, j]) / (m * d4)
            centres = (factors["centres"] * math.sqrt(of.along[j, i] / m) + math.sqrt(max(E, 0))) ** 2
            s2 = factors["directional"] * of.along[i, j] + shared + centres
            row += s2 / (s2 + c * c)
        total += min(1, row)
    return total / of.C


BOUNDS = {"p1": p1, "p3": p3, "cantelli": cantelli}


def only(of, i, j):
    """The moments of two classes alone."""
    at = [i, j]
    square = {name: getattr(of, name)[np.ix_(at, at)] for name in ("d2", "along", "traces")}
    return SimpleNamespace(C=2, v=[of.v[k] for k in at], M4=[of.M4[k] for k in at], **square)


def errors(h, labels, m, draws, seed=0):
    """Errors (draws,) of the nearest-centre classifier among all classes, and (draws, P) between two; ties are errors.

    Shots are drawn from the population itself, with replacement.
    """
    f, generator = torch.as_tensor(h, dtype=torch.float64), torch.Generator().manual_seed(seed)
    index = torch.as_tensor(labels)
    centres = []
    for label in index.unique():
        own = f[index == label]
        chosen = torch.randint(len(own), (draws, m), generator=generator)
        # Counts of each sample: as many numbers as it has samples, for any m.
        counts = torch.zeros(draws, len(own), dtype=torch.float64).scatter_add_(
            1, chosen, torch.ones(draws, m, dtype=torch.float64)
        )
        centres.append(counts @ own / m)
    return errors_of(f, index, torch.stack(centres, 1))


def errors_of(f, index, centres):
    """The same of given centres (draws, C, d)."""
    among, against = hits(f, index, centres, ties="errors")
    sizes = index.bincount().double()
    one = (1 - among / sizes).mean(1)
    wrong = 1 - against / sizes[:, None]
    pairs = list(combinations(range(len(sizes)), 2))
    return one.numpy(), torch.stack([(wrong[:, i, j] + wrong[:, j, i]) / 2 for i, j in pairs], 1).numpy()
