"""Every mistake in a sweep's file is one line, and nothing starts."""

import pytest

from coupled.errors import UserError

SEEDS = "[axes]\nseed = [0, 1]\n"
CASES = {
    "a bad axis": ("[axes]\nseed = 3\n", "axis seed = 3; a list of its values, at least one"),
    "an empty axis": ("[axes]\nseed = []\n", "axis seed = []; a list of its values, at least one"),
    "a value twice": ("[axes]\nseed = [0, 1, 0]\n", "axis seed; 0 is in it twice; keep one"),
    "an axis of paths": ("[axes]\npaths.data = ['a', 'b']\n", "axis paths.data; it changes no run"),
    "a section": ("[axes]\nmodel = [1]\n", "[axes] model; it is a section, not a field"),
    "an unknown axis": ("[axes]\nsede = [0]\n", "unknown field in [axes] sede; allowed: seed, code, data,"),
    "an unknown field": (
        "[axes]\noptimiser.learning_rat = [1]\n",
        "unknown field in [axes] optimiser.learning_rat; allowed: name, learning_rate,",
    ),
    "an unknown field of a point": (
        "[[points]]\ntrain.step = 1\n",
        "unknown field in point 1 of [[points]] train.step",
    ),
    "an unknown field that is set": (f"[set]\ntrian.steps = 1\n{SEEDS}", "did you mean train?"),
    "the name of a run": (f"[set]\nname = 'x'\n{SEEDS}", "unknown field in [set] name"),
    "an unknown key": (
        f"job = 2\n{SEEDS}",
        "unknown key job; allowed: base, arms, name, jobs, slurm, set, axes, points",
    ),
    "a bad value": ("[axes]\ntrain.steps = [1, -1]\n", "point s_-1: train.steps = -1; 0 ≤ value"),
    "a name that the folder has": (
        "[[points]]\nname = 'analysis'\nseed = 1\n",
        "a point is called analysis; the sweep's folder has that of its own",
    ),
    "a name of its lock": ("[[points]]\nname = 'sweep.lock'\nseed = 1\n", "a point is called sweep.lock"),
    "zero points": ("", "the sweep has no points; [axes], [[points]], or both"),
    "an empty list": ("points = []\n", "the sweep has no points"),
    "a point of nothing": ("[[points]]\n", "point 1 of [[points]] sets nothing"),
    "no tables": ("points = [1]\n", "points; tables are needed: [[points]]"),
    "axes that are none": ("axes = 3\n", "axes = 3; a table is needed: [axes]"),
    "two points of one digest": (
        "[[points]]\nname = 'a'\n[[points]]\nname = 'b'\ntrain.steps = 6\n",
        "points a and b are the same run (digest ",
    ),
    "points that axes make the same": (
        "[set]\noptimiser.reference_batch = 16\n[axes]\nlr_rule = ['linear', 'sqrt']\n"
        "[[points]]\nname = 'a'\nbatch_size = 16\n[[points]]\nname = 'b'\nbatches.size = 16\n",
        "points a-lr_linear and b-lr_linear are the same run (digest ",
    ),
    "values that do not tell which make one run": (  # 16 linear, 16 constant, 32 constant, but not 32 linear
        "[set]\nbatch_size = 16\n[axes]\noptimiser.reference_batch = [16, 32]\nlr_rule = ['linear', 'constant']\n",
        "points rb16-lr_linear and rb32-lr_constant are the same run (digest ",
    ),
    "duplicate names": (
        "[[points]]\nname = 'a'\ntrain.steps = 1\n[[points]]\nname = 'a'\ntrain.steps = 2\n",
        "two points are called a",
    ),
    "images of an unknown labelling": ("[set]\ndata.labelling = 'hue'\n[axes]\nimages = [30]\n", "data.labelling hue"),
    "a bad name": (f"name = 'a/b'\n{SEEDS}", "name = 'a/b'; at most 128 letters"),
    "an unknown arm": (
        f"arms = ['cl', 'nslc']\n{SEEDS}",
        "unknown arm of the base nslc; allowed: cl, nscl; did you mean",
    ),
    "bad arms": (f"arms = 'cl'\n{SEEDS}", "arms = 'cl'; a list of names"),
    "bad jobs": (f"jobs = 0\n{SEEDS}", "jobs = 0; an integer from 1"),
    "an axis of arms and of runs": (
        "[axes]\ntemperature = [0.1]\ntrain.temperature = [0.5]\n",
        "axes temperature and train.temperature; an axis is of the arms of a run or of runs, once",
    ),
    "labels of arms and of runs": (
        "[axes]\nlabelling = ['size']\n[[points]]\ndata.labelling = 'shape'\n",
        "axes labelling and data.labelling",
    ),
    "an axis of arms and of one of them": (
        "[axes]\nlabelling = ['size']\narms.nscl.labelling = ['shape']\n",
        "axes labelling and arms.nscl.labelling",
    ),
    "an axis of arms that is set": (
        "[set]\narms.nscl.labelling = 'size'\n[axes]\nlabelling = ['size', 'shape']\n",
        "[set] arms.nscl.labelling and axis labelling; the axis would overwrite it",
    ),
    "an axis that is set": (f"[set]\nseed = 3\n{SEEDS}", "[set] seed and axis seed; both set seed"),
    "a point that is set": (
        "[set]\ntrain.steps = 3\n[[points]]\nepochs = 1\n",
        "[set] train.steps and [[points]] epochs",
    ),
    "one field by two names": ("[axes]\nbatch_size = [8]\nbatches.size = [8]\n", "[axes] batch_size and batches.size"),
    "one key twice": ("[set]\n'train.steps' = 3\ntrain.steps = 4\n" + SEEDS, "[set] train.steps; it is given twice"),
    "steps that no epoch gives": (
        "[set]\ndata.per_class = 16\n[axes]\nepochs = [0.3]\n",
        "point e0.3: epochs = 0.3; an epoch is 4 steps (32 images in batches of 8): no whole number of steps",
    ),
    "steps that no samples give": ("[axes]\nsamples = [30]\n", "samples = 30; a multiple of the batch size, 8"),
    "a batch above an epoch": (
        "[set]\ndata.per_class = 16\nepochs = 1\n[axes]\nbatch_size = [64]\n",
        "point bs64: epochs = 1; an epoch is 0 steps",
    ),
    "epochs and samples": ("[set]\nepochs = 1\n[axes]\nsamples = [8]\n", "[set] epochs and axis samples"),
    "too many classes": ("[axes]\nclasses = [2, 3]\n", "point c3: classes = 3; 2 to 2, the classes of size of shapes"),
    "one class": ("[axes]\nclasses = [1]\n", "point c1: classes = 1; 2 to 2"),
    "images that classes do not share": ("[axes]\nimages = [31]\n", "images = 31; a multiple of 2"),
    "more images than there are": (
        "[axes]\nimages = [40000]\n",
        "images = 40000; not all of the 2 classes have 20000: ",
    ),
    "images of a long tail": ("[set]\nimages = 30\nimbalance = 2.0\n" + SEEDS, "images = 30; a long tail (imbalance)"),
    "an unknown rule": ("[axes]\nlr_rule = ['cubic']\n", "lr_rule = cubic; one of constant, linear, sqrt, fourth-root"),
    "no arm of that name": ("[axes]\narms.x.labelling = ['size']\n", "point run: axis arms.x.labelling; an arm of the"),
    "an unknown labelling": ("[axes]\nlabelling = ['hue']\n", "point run: unknown arms.nscl_hue.labelling hue"),
}


def said(sweep, text, overrides=(), **options):
    with pytest.raises(UserError) as raised:
        sweep(text, overrides, **options)
    assert "\n" not in str(raised.value) and raised.value.exit_code == 2
    return str(raised.value)


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_is_one_line(sweep, case):
    text, message = CASES[case]
    assert message in said(sweep, text)


def test_a_missing_base_is_one_line(sweep):
    assert "no base; a config's path, seen from the sweep's file; such as base = " in said(sweep, SEEDS, base="")
    assert "base = 3; a config's path" in said(sweep, SEEDS, base="base = 3\n")
    assert "nowhere.toml cannot be read; No such file" in said(sweep, SEEDS, base="base = 'nowhere.toml'\n")


def test_a_sweep_that_is_no_toml_is_one_line(sweep):
    assert "demo.toml is not TOML" in said(sweep, "[axes\n")
    assert "demo.toml is empty; it names a base" in said(sweep, " \n", base="")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=2", "--set seed; the sweep varies it (seed); change the sweep's file"),
        ("train.step=2", "unknown field in --set train.step"),
        ("train.steps", "--set train.steps; section.field=value is needed"),
    ],
)
def test_a_bad_override_is_one_line(sweep, override, message):
    assert message in said(sweep, SEEDS, [override])
