"""Losses of a run's arms at kept checkpoints: the engine's own losses of the very views, in the scope that they say."""

import csv
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import rewrite, tables, tiny

import analysis
import coupled
from analysis.arrays.split_losses import DCL, NSCL, NSCL_POSITIVE, NT_XENT, SCL
from analysis.evaluation.features import Evaluation, Place
from analysis.evaluation.losses import NO_BOUND, NO_LABELS, losses, row_sums, table
from analysis.evaluation.losses.settings import name_of
from analysis.evaluation.samples import batches
from coupled.config import from_tables
from coupled.data import ArraySplit, DataInfo
from coupled.driver.train import train
from coupled.errors import UserError
from coupled.objectives.losses import loss
from coupled.theory.bounds import data_set_gap

pytestmark = pytest.mark.kernels
ARMS = {
    "cl": {"objective": "dcl"},
    "nscl": {"objective": "nscl"},
    "path": {"objective": "homotopy", "lam": 0.25, "temperature": 0.2},
    "fine": {"objective": "nscl", "labelling": "shape", "positive_in_denominator": True},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train(tiny(tmp_path_factory.mktemp("runs"), arms=ARMS))


def evaluated(path, output, **options):
    return Evaluation(analysis.open_run(path), output=output, **{"size": 42, **options})


@pytest.fixture(scope="module")
def evaluation(trained, tmp_path_factory):
    return evaluated(trained, tmp_path_factory.mktemp("features"))


@pytest.fixture(scope="module")
def rows(evaluation):
    return losses(evaluation)


def picked(rows, **facts):
    (row,) = [row for row in rows if all(getattr(row, name) == value for name, value in facts.items())]
    return row


LAST = {"arm": "nscl", "step": 6, "split": "test", "labelling": "size"}


def test_there_is_a_row_for_every_arm_step_split_labelling_and_scope(rows):
    facts = {(row.arm, row.step, row.split, row.labelling, row.scope) for row in rows}
    assert len(rows) == len(facts) == 4 * 3 * 2 * 2 * 2
    assert {row.temperature for row in rows if row.arm == "path"} == {0.2}
    assert {row.epoch for row in rows if row.step == 6} == {6 / (len_of_train() // 8)}
    assert all(row.of.gap.residual <= 1e-6 and row.of.gap_with_positive.residual <= 1e-6 for row in rows)


def len_of_train():
    from coupled.data import info

    return info("shapes", "").train_size


OPTIONS = {DCL: {}, NT_XENT: {}, NSCL: {}, NSCL_POSITIVE: {"positive_in_denominator": True}, SCL: {}}


@pytest.mark.parametrize("objective", OPTIONS, ids=name_of)
def test_both_scopes_are_the_engine_s_losses(objective, rows, evaluation):
    z, labels = evaluation.views(Place("nscl", 6, "test")).double(), evaluation.sample("test").labels["size"]
    tau, options = evaluation.run.arms["nscl"].temperature, OPTIONS[objective]
    # Logits of float32 cosines: a few roundings of 2/τ.
    room = {"abs": 1e-5}
    whole = loss(objective.name, z, labels, tau, **options).item()
    assert picked(rows, **LAST, scope="split").of.losses[objective] == pytest.approx(whole, **room)
    of_batches = [
        loss(objective.name, z[torch.cat([b, b + 42])], labels[b], tau, **options).item()
        for b in batches("test", 42, 8)
    ]
    row = picked(rows, **LAST, scope="batch")
    assert row.of.losses[objective] == pytest.approx(sum(of_batches) / 5, **room)
    assert (row.n, row.batch, row.of.batches) == (40, 8, 5)
    assert row.flags[:2] == (NO_BOUND, "2 of 42 samples are left over: they fill no batch")


def test_the_data_set_bound_counts_the_ids_taken_and_is_in_scope_split_alone(rows, evaluation):
    counts = evaluation.sample("test").labels["size"].bincount()
    row = picked(rows, **LAST, scope="split")
    assert (row.n, row.classes, row.largest_class) == (42, int((counts > 0).sum()), int(counts.max()))
    assert row.of.gap.data_set == data_set_gap(row.largest_class, 42, row.temperature) >= row.of.gap.per_anchor
    assert all((row.of.gap.data_set is None) == (row.scope == "batch") for row in rows)
    assert all(row.of.gap.slack >= -1e-5 and row.of.gap_with_positive.slack >= -1e-5 for row in rows)


def test_what_an_arm_minimises_beside_the_usual_is_evaluated_too(rows):
    assert {name_of(objective) for row in rows for objective in row.of.losses} >= {"homotopy_0.25", "scl"}


def test_one_temperature_for_all_and_another_batch_size(evaluation):
    rows = losses(evaluation, temperature=1.0, batch=21)
    assert {row.temperature for row in rows} == {1.0}
    assert {(row.batch, row.of.batches) for row in rows} == {(21, 2), (None, None)}


def test_the_first_paper_s_second_view_is_the_plain_image(evaluation):
    row = picked(losses(evaluation, second="plain"), **LAST, scope="split")
    z = evaluation.views(Place("nscl", 6, "test"), second="plain")
    labels = evaluation.sample("test").labels["size"]
    assert row.of.losses[NSCL] == pytest.approx(loss("nscl", z, labels, row.temperature).item(), abs=1e-5)
    assert row.second_view == "plain"


def test_the_share_is_of_the_reduction_that_training_by_nscl_has(rows):
    defined = 0
    for row in rows:
        at = {"split": row.split, "labelling": row.labelling, "scope": row.scope}
        other = "nscl" if row.labelling == "size" else "fine"
        own, its = (
            [picked(rows, arm=arm, step=step, **at).of.losses[NSCL] for step in (0, row.step)]
            for arm in (row.arm, other)
        )
        # Nothing is said at step 0, nor at another τ, nor where the NSCL loss has not fallen.
        if row.step == 0 or row.arm == "path" or its[0] <= its[1]:
            assert math.isnan(row.share)
            continue
        assert row.share == pytest.approx((own[0] - own[1]) / (its[0] - its[1]))
        defined += 1
    assert defined > 10


def test_without_step_0_there_is_no_share(trained, tmp_path):
    assert all(math.isnan(row.share) for row in losses(evaluated(trained, tmp_path, steps=[3, 6])))


def test_sums_over_splits_are_kept_and_shared(trained, tmp_path, monkeypatch):
    made = []
    reduce = row_sums.reduce_rows
    monkeypatch.setattr(row_sums, "reduce_rows", lambda *given: made.append(given) or reduce(*given))
    first = losses(evaluated(trained, tmp_path))
    # At step 0 three arms have one z and τ, under two labellings on two splits; nothing else is shared.
    assert len(made) == (4 * 3 - 2) * 2 * 2
    again = losses(evaluated(trained, tmp_path))
    assert len(made) == 40 and table_of(again) == table_of(first)
    for path in list(tmp_path.glob("sums-*/*"))[:2]:
        path.write_bytes(path.read_bytes()[:-1])
    assert table_of(losses(evaluated(trained, tmp_path))) == table_of(first) and len(made) == 42


def table_of(rows):
    return [(row.arm, row.step, row.split, row.labelling, row.scope, row.of.losses, repr(row.of.gap)) for row in rows]


def test_values_do_not_depend_on_threads(trained, tmp_path):
    one = losses(evaluated(trained, tmp_path / "a", steps=[6]))
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        two = losses(evaluated(trained, tmp_path / "b", steps=[6]))
    finally:
        torch.set_num_threads(threads)
    assert table_of(one) == table_of(two)


def test_the_csv_has_every_number_and_leaves_undefined_ones_empty(rows, evaluation, tmp_path):
    run = analysis.open_run(shutil.copytree(evaluation.run.path, tmp_path / "run"))
    with table.write(run, rows).open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(rows) and all(None not in line for line in lines)
    for row, line in zip(rows, lines, strict=True):
        assert float(line["loss_nscl_with_positive"]) == row.of.losses[NSCL_POSITIVE]
        assert float(line["gap_tighter_with_positive"]) == row.of.gap_with_positive.tighter
        assert (line["gap_data_set"] == line["gap_data_set_with_positive"] == "") == (row.scope == "batch")
        assert (line["share"] == "") == math.isnan(row.share)
        assert (NO_BOUND in line["flags"]) == (row.scope == "batch")


def test_a_broken_bound_and_a_broken_identity_are_named(rows, evaluation):
    assert table.violations(evaluation.run, rows) == []
    row = picked(rows, **LAST, scope="split")
    for change, said in (
        ({"slack": -0.1}, "an anchor's gap is above the tighter bound by 0.1"),
        ({"data_set": 0.0}, "is above the data-set bound 0"),
        ({"residual": 1e-3}, "CL − NSCL is off the gap by 0.001"),
    ):
        broken = replace(row, of=replace(row.of, gap=replace(row.of.gap, **change)))
        (sentence,) = table.violations(evaluation.run, [broken])
        assert said in sentence and sentence.startswith("nscl at step 6 on test, size, scope split: ")


def test_one_class_has_losses_and_a_flag_but_no_gap(trained, tmp_path):
    evaluation = evaluated(trained, tmp_path, steps=[6])
    for split in ("train", "test"):
        sample = evaluation.sample(split)
        evaluation._samples[split] = replace(sample, labels={"size": torch.zeros(42, dtype=torch.int64)})
    for row in losses(evaluation):
        assert row.of.losses[DCL] > 0 and row.of.losses[NSCL] == 0 and math.isnan(row.of.gap.gap)
        assert "one class: no anchor has a sample of another, and there is no gap" in row.flags
    assert table.violations(evaluation.run, losses(evaluation)) == []


def test_anchors_that_a_batch_leaves_alone_are_counted(trained, tmp_path):
    evaluation = evaluated(trained, tmp_path, steps=[6])
    rows = losses(evaluation, batch=2)
    row = picked(rows, arm="cl", split="test", labelling="size", scope="batch")
    labels = evaluation.sample("test").labels["size"]
    alone = sum(4 for a, b in batches("test", 42, 2) if labels[a] == labels[b])
    assert row.of.gap.skipped == alone > 0
    assert f"{alone} of 84 anchors have no sample of another class: in no gap, mass or bound" in row.flags


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory):
    images = torch.randint(256, (64, 3, 16, 16), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    info = DataInfo("nameless", 64, 64, 16, (0.5, 0.5, 0.5), (0.3, 0.3, 0.3), {}, "")
    coupled.register_data_set(info, lambda split, root: ArraySplit(images, {}))
    sections = {"data": {"name": "nameless"}, "paths": {"runs": str(tmp_path_factory.mktemp("unlabelled"))}}
    given = tables(**sections, arms={"cl": {"objective": "nt_xent"}, "twin": {"kind": "twin"}})
    del given["data"]["labelling"]
    return train(from_tables(given))


def test_data_without_labels_have_the_losses_that_need_none(unlabelled, tmp_path):
    rows = losses(evaluated(unlabelled, tmp_path, steps=[6]))
    assert {row.labelling for row in rows} == {None} and all(NO_LABELS in row.flags for row in rows)
    assert all(set(row.of.losses) == {DCL, NT_XENT} and math.isnan(row.of.gap.gap) for row in rows)
    assert all(row.of.gap.data_set is None and row.classes == 0 for row in rows)


def test_features_that_are_not_finite_are_one_line(trained, tmp_path):
    path = shutil.copytree(trained, tmp_path / "spoilt")

    def poison(tensors):
        next(array for name, array in tensors.items() if name.startswith("weights."))[:] = np.nan

    rewrite(path, "checkpoints/step-000000006/nscl.safetensors", poison)
    with pytest.raises(UserError, match="z of nscl at step 6 on t[a-z]+ is not finite"):
        losses(evaluated(path, tmp_path / "features"))


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf, math.nan])
def test_a_temperature_is_positive(evaluation, temperature):
    with pytest.raises(UserError, match="from 1e-30 to 1e"):
        losses(evaluation, temperature=temperature)
