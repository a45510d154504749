# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Parts of one's own
#
# An objective and a recorded quantity (a *stream*) may be functions of your own. This notebook writes both, trains a
# run with them for three seeds, and compares the objective with a control. It takes less than a minute on two cores.
# [The first notebook](01_cl_against_nscl.ipynb) says what arms, references and controls are.

# %%
from pathlib import Path

import matplotlib.pyplot as plt

import analysis
import coupled

# %% [markdown]
# ## The parts
#
# They stand in a Python file that the config names. So the run holds the file's SHA-256, and an edited file makes
# another run.
#
# - An **objective** gets Σ, the cosine similarities of all views of a batch (2B × 2B for B images, the first view of
#   every image before the second), the labels and the temperature. It returns the loss of every view. This one is a
#   hinge: every view of another class should be less similar than the image's own other view by at least the
#   temperature.
# - A **stream** gets an arm at a step, after its backward and before its update, and returns a number or a tensor to
#   be recorded. This one is how many directions the embeddings use, from 1 to their dimension.

# %%
parts = """
import coupled


@coupled.register_objective("hinge")
def hinge(sigma, labels, temperature):
    positive = sigma.roll(len(labels), dims=1).diagonal()
    negative = labels.repeat(2)[:, None] != labels.repeat(2)
    return ((sigma - positive[:, None] + temperature).clamp_min(0) * negative).sum(1) / negative.sum(1).clamp_min(1)


@coupled.register_stream("directions")
def directions(seen):
    return 1 / (seen.sigma.double() / len(seen.sigma)).square().sum()
"""
_ = Path("parts.py").write_text(parts)

# %% [markdown]
# ## The config
#
# The reference is `cl`. The arm `hinge` has the new objective. Its control is `placebo`: the same objective, but each
# batch's labels are given to other images of the batch. What the two have in common is not about the labels.

# %%
config = """
[code]
files = ["parts.py"]

[data]
name = "shapes"
labelling = "shape"      # one of 8 shapes

[batches]
size = 32

[views]
size = 16

[train]
steps = 40
threads = 1

[panel]
size = 256
surrogate_size = 16

[record.own.directions]  # at every step, of all arms

[arms.cl]
objective = "dcl"

[arms.hinge]
objective = "hinge"

[arms.placebo]
kind = "placebo"
of = "hinge"
"""
_ = Path("mine.toml").write_text(config)

# %% [markdown]
# ## Three seeds
#
# The seed decides the weights at the start, the batches and the views. Within one seed all arms share them.

# %%
paths = [coupled.train("mine.toml", {"seed": seed, "name": f"mine_{seed}"}, reporter=None) for seed in range(3)]
runs = [analysis.open_run(path) for path in paths]
runs[0]

# %% [markdown]
# The stream is a curve:

# %%
plt.figure(figsize=(6, 3.2), dpi=80)
for arm, colour in (("cl", "C0"), ("hinge", "C1"), ("placebo", "C2")):
    for seed, run in enumerate(runs):
        curve = run.curve("own.directions", arm=arm)
        plt.plot(curve.steps, curve.values, color=colour, lw=1, label=arm if seed == 0 else None)
plt.gca().set(xlabel="step", ylabel="directions of the embeddings")
plt.legend()
plt.show()

# %% [markdown]
# ## The objective against its control
#
# For each seed, take the CKA to `cl` at the last step (1: the representations are equal up to rotation and scale), of
# `hinge` and of its placebo. The difference is taken within each seed, where both arms share everything but the
# labels.

# %%
hinge = {seed: float(run.curve("cka", arm="hinge").values[-1]) for seed, run in enumerate(runs)}
placebo = {seed: float(run.curve("cka", arm="placebo").values[-1]) for seed, run in enumerate(runs)}
for seed, own in hinge.items():
    print(f"seed {seed}: hinge {own:.3f}, placebo {placebo[seed]:.3f}, difference {own - placebo[seed]:+.3f}")
difference = analysis.contrast(hinge, placebo)
print(f"mean difference {difference.value:+.3f}, 95 % interval {difference.low:+.3f} to {difference.high:+.3f}")

# %% [markdown]
# The interval is Student's t interval of the three differences. It says where the mean over seeds may lie, if the
# differences of seeds vary as normal numbers do.
#
# ## What this decides: nothing
#
# Three seeds are the fewest for which an interval is given at all, and it is wide: t is 4.3 with three seeds and 2.8
# with five. An interval that holds 0 does not show that there is no difference, and one that does not hold 0 would be
# a finding about this tiny network after 40 steps. To decide a question, say first which difference would matter,
# then take as many seeds as bring the interval below it. [Claims](../claims.md) does so with rules that were written
# before the runs, and [sweeps](../sweeps.md) train many seeds.
#
# [Your own code](../own_code.md) has data sets and encoders of one's own too, and all that a stream is given.
