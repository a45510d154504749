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
# # Reading a run
#
# A run is a folder with a record of every step. This notebook trains two tiny runs and shows how they are read: the
# list of runs, the recorded numbers as arrays, bounds beside what they bound, how fast weights part, a measure of
# one's own, and results that are written beside the run and not into it. It takes less than a minute on two cores.
# What it measures is too small to mean anything; [the first notebook](01_cl_against_nscl.ipynb) says what arms,
# references and controls are.

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import analysis
import coupled

small = {
    "train.steps": 40,
    "train.threads": 1,
    "optimiser.warmup": 5,
    "batches.size": 32,
    "views.size": 16,
    "panel.size": 256,
    "panel.surrogate_size": 16,
}
first = coupled.train("quickstart", small, reporter=None)  # reporter=None: in silence
second = coupled.train("quickstart", {**small, "train.temperature": 1.0}, reporter=None)

# %% [markdown]
# ## The list of runs
#
# `analysis.runs` lists the runs in a folder: how far each is, its state, its size.

# %%
table = analysis.runs("runs")
for row in table:
    print(f"{row.name}   {row.done} of {row.planned} steps, {row.state}, {row.size / 1e6:.0f} MB")

# %% [markdown]
# `table.to_frame()` is a data frame of the same. In what two runs differ, and from which step on, `coupled.diff`
# says:

# %%
differences = coupled.diff(first, second)
for fact in differences.facts:
    print(fact)
print(differences.verdict)

# %% [markdown]
# ## The numbers as arrays
#
# `run.to_xarray` gives recorded numbers by step and arm, with names for the axes (it needs the library xarray).
# `loss` is the loss that an arm is trained with. `loss_of.nscl` is the value of the loss of `nscl` on the same batch,
# for every arm.

# %%
run = analysis.open_run(first)
scalars = run.to_xarray("scalars")
print("variables:", *scalars.data_vars)
scalars["loss_of.nscl"].sel(step=[0, 10, 20, 39]).to_pandas().round(4)

# %% [markdown]
# Anything else that was recorded is read by its name: `run.column` gives the steps and an array with a row for each.
# Here it is `h`, the features of the 256 panel images, of every recorded step.

# %%
steps, h = run.column("panel", "nscl", "state.h")
print(steps, h.shape)

# %% [markdown]
# ## Bounds beside what they bound
#
# The **loss gap** of a batch is the loss of CL less that of NSCL on the same embeddings. It is never below 0. Theory
# gives upper bounds on it ([formulas](../theory.md)): *per anchor* from the counts of classes in the batch alone,
# *tighter* from the similarities in the batch too. `analysis.bounds` gives every bound as a curve, and the measured
# quantity beside it.

# %%
curves = analysis.bounds(run)
gaps = [curve for curve in curves if (curve.measure, curve.arm, curve.source) == ("gap", "nscl", "batch")]
for curve in gaps:
    name = curve.bound or "measured"
    print(f"{curve.kind:12} {name:17} {curve.values[-1]:.4f}  {'; '.join(curve.flags)}")

# %% [markdown]
# `flags` say what the reading of a curve depends on. One of these is no bound here, and its flag says so: the data
# set's bound holds where one batch is the whole data set, and these are mini-batches.

# %%
plt.figure(figsize=(6, 3.2), dpi=80)
for curve in gaps:
    if curve.bound in (None, "tighter", "per anchor"):
        plt.plot(curve.steps, curve.values, label=curve.bound or "measured")
plt.gca().set(xlabel="step", ylabel="loss gap", yscale="log")
plt.legend()
plt.show()

# %% [markdown]
# A bound that holds may be loose: the one from the counts lies far above the measured gap in this run.
#
# ## How fast weights part
#
# `analysis.growth` fits the distance between an arm's weights and its reference's, in named windows of steps, by two
# laws: an exponential in the summed learning rate, as an instability would give, and a power law. `better` says which
# fits better, or *undecided*. It compares two fits; that a law fits better than another does not make it true.

# %%
for fit in analysis.growth(run):
    if fit.layer is None:  # of all weights together
        print(
            f"{fit.arm:8} {fit.window:6} steps {fit.first:2} to {fit.last:2}  "
            f"exponent {fit.exponent:6.3f} ({fit.low:.3f} to {fit.high:.3f})  better: {fit.better}"
        )

# %% [markdown]
# In brackets is the 95 % interval of the exponent. Where it holds 0, this run does not show exponential growth in
# that window; where it does not, but the power law fits better, it does not either. The twin has no line: its
# distance is 0.
#
# ## A measure of one's own
#
# A measure is a function of two arrays: the features of an arm and of its reference, for the same images in the same
# order. Registered, it is a curve like any other. Here it is the share of images whose nearest neighbour is the same
# in both.


# %%
@analysis.register_measure("same_neighbour", bands=False)
def same_neighbour(x: np.ndarray, y: np.ndarray) -> float:
    """The share of images that have the same nearest other image in both, by cosine."""

    def nearest(features: np.ndarray) -> np.ndarray:
        rows = features / np.linalg.norm(features, axis=1, keepdims=True)
        cosines = rows @ rows.T
        np.fill_diagonal(cosines, -np.inf)
        return cosines.argmax(axis=1)

    return float(np.mean(nearest(x) == nearest(y)))


for arm in ("nscl", "placebo", "nudged", "twin"):
    curve = run.curve("same_neighbour", arm=arm)
    print(
        f"{arm:8}", *(f"{step}: {value:.2f}" for step, value in zip(curve.steps, curve.values, strict=True)), sep="  "
    )

# %% [markdown]
# In a notebook the decorator is enough. For `coupled-analyze` the function goes into a file, which `--code` names
# ([your own code](../own_code.md#a-measure)). With `bands=True`, the default, the curve also has an interval and a
# band of chance, from some more calls of the function.
#
# ## Results into another folder
#
# Commands and functions that write results put them into the run's folder `analysis/`. Inside `results_in` they go
# elsewhere, and nothing is written into the run, which may then be read-only.

# %%
with analysis.results_in("results", [first]):
    written = analysis.write_csv(run, [run.curve("cka", arm="nscl"), run.curve("same_neighbour", arm="nscl")])
print(written)
print(Path(written).read_text().splitlines()[0])
print("in the run:", (Path(first) / "analysis").exists())

# %% [markdown]
# [The analysis](../analysis.md) has all measures and functions, [the format of runs](../../runs/README.md) all that
# is recorded. The [next notebook](03_parts_of_ones_own.ipynb) trains with parts of one's own.
