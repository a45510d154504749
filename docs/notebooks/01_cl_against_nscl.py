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
# # CL against NSCL from Python
#
# Two losses are compared. Each takes two augmented *views* of every image of a batch. **CL** (here `dcl`) draws the
# two views of an image together and pushes them away from the views of all other images. **NSCL** (`nscl`) pushes
# them away only from images of other classes. This notebook trains both from the same weights, on the same batches
# and the same views, and looks at how far apart they end.
#
# It needs no data set: the images are [procedural](../shapes.md). It takes less than a minute on two cores, because
# the run is far too small to say anything about the losses. The [tutorial](../tutorial.md) has one that is larger.

# %%
import matplotlib.pyplot as plt

import analysis
import coupled

# %% [markdown]
# ## Load a config, with changes
#
# `quickstart` is a config that ships with the package. `coupled.load` gives it with some fields changed
# (*overrides*), and checks all of them. A field that does not exist is refused in one line.

# %%
small = {
    "train.steps": 60,
    "train.threads": 1,
    "optimiser.warmup": 5,
    "batches.size": 32,  # images in a batch
    "views.size": 16,  # pixels of a view's side
    "panel.size": 256,  # test images on which networks are compared
    "panel.surrogate_size": 16,
}
config = coupled.load("quickstart", small)
print(config.name)
for name, arm in config.arms.items():
    print(f"{name:8}", arm.kind, arm.objective)

# %% [markdown]
# The name has gained eight digits: these overrides make other training than the file does, so the run has a folder of
# its own.
#
# Each line is an **arm**, one network that is trained. All arms see the same batches. Every arm but the first is
# compared with another one, its **reference**; here that is `cl` for all of them. Three of the arms are *controls*.
# They tell what a difference between `nscl` and `cl` may mean:
#
# - **twin** is trained exactly like `cl`. It must stay equal to `cl` in every bit. If it does not, something is
#   broken.
# - **nudged** is trained like `cl`, but its weights are changed a little before the first step: each by a
#   ten-thousandth of itself. It tells how far apart two trainings of *one* loss come from a small push alone.
# - **placebo** has the loss of `nscl`, but the labels of each batch are given to other images of it. It leaves out as
#   many pairs as `nscl` does, but not those of one class. What `nscl` and its placebo have in common is not about the
#   labels.
#
# [Controls](../controls.md) has the other kinds.
#
# ## Train
#
# `coupled.train` takes the name of a config and overrides, or a config that was loaded. It trains all arms step by
# step, shows how far it is, and returns the folder of the run. Called again, it finds the run finished and does
# nothing.

# %%
path = coupled.train(config)
path

# %% [markdown]
# ## Look at the run
#
# `analysis.open_run` reads what was recorded. A notebook shows a run as a table of its arms.

# %%
run = analysis.open_run(path)
run

# %% [markdown]
# `run.curve` gives one quantity of one arm, compared with its reference:
#
# - **CKA** says how alike two networks place the same images: 1 is equal up to rotation and scale, about 0 is no more
#   alike than chance. It is computed on the *panel*, 256 test images that no arm trains on.
# - **weight gap** says how far apart two networks' weights are, layer by layer: 0 is equal, 2 is the most there can
#   be.

# %%
cka = run.curve("cka", arm="nscl")
cka.to_frame()

# %% [markdown]
# `low` and `high` are the ends of a 95 % interval: how much CKA varies with the choice of the panel's images. It does
# not say how much it varies with the seed of the run. `null_low` and `null_high` enclose what CKA is where the images
# of the two networks are paired at random.

# %%
plt.figure(figsize=(7, 3.6), dpi=80)
cka.plot().legend(loc="lower left", fontsize=7)
plt.show()

# %% [markdown]
# Curves can be drawn into axes of your own, or from their `steps` and `values`. Here are all four arms:

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), dpi=80, layout="constrained")
for panel, measure in zip(axes, ("weight_gap", "cka"), strict=True):
    for arm in ("nscl", "placebo", "nudged", "twin"):
        curve = run.curve(measure, arm=arm)
        panel.plot(curve.steps, curve.values, label=arm)
    panel.set(xlabel="step", ylabel=f"{measure} to cl")
axes[0].legend()
plt.show()

# %% [markdown]
# The numbers at the last step:

# %%
for arm in ("nscl", "placebo", "nudged", "twin"):
    gap, alike = (run.curve(measure, arm=arm).values[-1] for measure in ("weight_gap", "cka"))
    print(f"{arm:8} weight gap {gap:.3f}   CKA {alike:.3f}")

# %% [markdown]
# ## What this tells, and what it does not
#
# The twin is at distance 0: the arms were trained in lockstep, so the other lines differ by what was changed and by
# nothing else.
#
# Hold `nscl` against `nudged` and `placebo`, not against 0. An arm that ends as far from `cl` as a nudged copy of
# `cl` has shown nothing about its loss: a push of a ten-thousandth brings one loss as far. An arm that ends as far as
# its placebo has shown nothing about the labels.
#
# And this is one seed, 60 steps and a tiny network. Another seed moves every line, so which of two lines is higher
# here means nothing. [The tutorial](../tutorial.md) goes on with a larger run, [controls](../controls.md) has five
# seeds with intervals, and [the next notebook](02_reading_a_run.ipynb) shows what else a run holds.
