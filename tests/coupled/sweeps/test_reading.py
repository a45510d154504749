"""Sweeps from files: grids, lists, names, merged points."""

from coupled.config import digest


def names(sweep):
    return [point.name for point in sweep.points]


def test_a_grid_is_every_combination_the_first_axis_slowest(sweep):
    demo = sweep('[axes]\n"batches.size" = [8, 16]\nseed = [0, 1]\n')
    assert names(demo) == ["size8-seed0", "size8-seed1", "size16-seed0", "size16-seed1"]  # s stands for both
    assert [(p.config.batches.size, p.config.seed) for p in demo.points] == [(8, 0), (8, 1), (16, 0), (16, 1)]
    assert dict(demo.points[1].values) == {"batches.size": (8,), "seed": (1,)}
    assert (demo.name, demo.runs, demo.jobs) == ("demo", "runs", None)
    assert {point.config.paths.runs for point in demo.points} == {"runs/demo"}
    assert [point.config.name for point in demo.points] == names(demo)


def test_names_are_initials_and_values(sweep):
    demo = sweep("[axes]\noptimiser.learning_rate = [0.1, 1.0]\nbatch_size = [16]\nmodel.encoder = ['resnet-small']\n")
    assert names(demo) == ["lr0.1-bs16-e_resnet-small", "lr1-bs16-e_resnet-small"]


def test_a_list_has_the_points_it_names(sweep):
    demo = sweep("[[points]]\ntrain.steps = 2\n[[points]]\nname = 'long'\ntrain.steps = 9\noptimiser.warmup = 3\n")
    assert names(demo) == ["s2", "long"]
    assert [p.config.train.steps for p in demo.points] == [2, 9]
    assert dict(demo.points[1].values) == {"train.steps": (9,), "optimiser.warmup": (3,)}


def test_a_list_may_have_axes_besides(sweep):
    demo = sweep("[axes]\nseed = [0, 1]\n[[points]]\nname = 'a'\n[[points]]\nname = 'b'\ntrain.steps = 2\n")
    assert names(demo) == ["a-s0", "a-s1", "b-s0", "b-s1"]


def test_what_is_set_is_set_for_all_and_a_schedule_is_one_value(sweep):
    demo = sweep('jobs = 2\n[set]\ntrain.threads = 2\n"record.panel".every = 3\n[axes]\nseed = [0, 1]\n')
    assert {p.config.train.threads for p in demo.points} == {2} and demo.jobs == 2
    assert {(p.config.record.panel.every, p.config.record.panel.log) for p in demo.points} == {(3, 0)}


def test_four_rules_of_equal_peak_are_one_run_at_the_middle_batch(sweep):
    rules = ["constant", "linear", "sqrt", "fourth-root"]
    text = "[set]\noptimiser.reference_batch = 16\n[axes]\nbatch_size = [8, 16, 32]\nlr_rule = "
    demo = sweep(f"{text}{rules}\n")
    assert names(demo) == [f"bs{b}-lr_{r}" for b in (8,) for r in rules] + ["bs16"] + [f"bs32-lr_{r}" for r in rules]
    middle = demo.points[4]
    assert middle.name == middle.config.name and dict(middle.values) == {"batch_size": (16,), "lr_rule": tuple(rules)}
    assert middle.config.optimiser.scaling == "constant"
    assert demo.points[1].config.optimiser.reference_batch == 16
    assert len({digest(p.config) for p in demo.points}) == 9


def test_some_of_an_axis_that_make_one_run_are_all_in_its_name(sweep):
    demo = sweep("[axes]\nlr_rule = ['linear', 'constant']\nbatch_size = [256, 128]\n[set]\ndata.per_class = 200\n")
    assert names(demo) == ["bs256", "lr_linear-bs128", "lr_constant-bs128"]


def test_an_override_is_of_what_is_set_and_has_a_folder_of_its_own(sweep):
    text = "[set]\ntrain.steps = 4\n[axes]\nseed = [0, 1]\n"
    plain, changed = sweep(text), sweep(text, ["train.steps=5"])
    assert [p.config.train.steps for p in changed.points] == [5, 5]
    assert changed.name.startswith("demo-") and len(changed.name) == 13
    assert {p.config.paths.runs for p in changed.points} == {f"runs/{changed.name}"}
    assert sweep(text, ["train.steps=4"]) == plain
    assert sweep(text, ["paths.runs=elsewhere"]).points[0].config.paths.runs == "elsewhere/demo"
    assert sweep(text, ["train.steps=5", "name=mine"]).name == "mine"


def test_epochs_and_samples_give_steps(sweep):
    demo = sweep("[set]\ndata.per_class = 16\nepochs = 1.5\n[axes]\nbatch_size = [8, 16]\n")
    assert [p.config.train.steps for p in demo.points] == [6, 3]  # two sizes of 16 images: 4 steps an epoch, and 2
    demo = sweep("[set]\nsamples = 48\n[axes]\nbatch_size = [8, 16]\n")
    assert [p.config.train.steps for p in demo.points] == [6, 3]


def test_a_long_tail_of_1_is_none(sweep):
    demo = sweep("[axes]\nimbalance = [1, 10]\n")
    assert [(p.name, p.config.data.imbalance) for p in demo.points] == [("i1", None), ("i10", 10.0)]


def test_arms_of_the_base_may_be_left_out_and_others_set(sweep):
    (point,) = sweep("arms = ['cl']\n[set.arms.twin]\nkind = 'twin'\n[axes]\nseed = [0]\n").points
    assert list(point.config.arms) == ["cl", "twin"]
