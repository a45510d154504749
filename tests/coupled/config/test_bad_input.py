"""A user's mistake is one line that says what was given and what is allowed; exit code 2; no directory is left."""

import pytest

from coupled.cli import main

MINIMAL = '[arms.cl]\nobjective = "dcl"\n[arms.nscl]\nobjective = "nscl"\n'

BAD_SETS = [
    ("trian.steps=3", "did you mean train?"),
    ("train.stpes=3", "did you mean train.steps?"),
    ("train.steps=ten", "an integer is needed"),
    ("train.steps=true", "an integer is needed"),
    ("train.steps=-1", "0 ≤ value"),
    ("train.steps=1.5", "an integer is needed"),
    ("train=3", "a table is needed"),
    ("train.precision=float16", "one of float32, float64"),
    ("train.temperature=0", "1e-30 ≤ value ≤ 1e+30"),
    ("train.temperature=nan", "a finite number with 1e-30 ≤ value"),
    ("train.temperature=inf", "a finite number with 1e-30 ≤ value"),
    ("optimiser.learning_rate=inf", "a finite number with 0 < value"),
    ("optimiser.weight_decay=-inf", "a finite number with 0 ≤ value"),
    ("data.imbalance=inf", "a finite number with 1 < value"),
    ("ranks.timeout=nan", "a finite number with 1 ≤ value ≤ 86400"),
    ("arms.h={objective = 'homotopy', lam = nan}", "a finite number with 0 ≤ value ≤ 1"),
    ('arms.t={kind="nudged", scale=inf}', "a finite number with 0 < value ≤ 1"),
    ("train.steps=30000000", "value ≤ 1e+07"),
    ("train.steps=" + "9" * 5000, "an integer is needed"),
    ("arms.nsl.temperature=0.2", "did you mean arms.nscl?"),
    ("data.balance_by=shape", "only counts with batches.stream = balanced"),
    ('optimiser={schedule="constant", horizon=900}', "only counts with schedule = cosine"),
    ("paths.runs=/etc/passwd", "a folder"),
    ("optimiser.momentum=1.0", "value < 1"),
    ("optimiser.horizon=2", "at least train.steps"),
    ("optimiser.warmup=301", "at most the horizon"),
    ("batches.size=1", "2 ≤ value"),
    ("batches.size=20001", "at most 20000"),
    ("batches.stream=random", "one of uniform, balanced"),
    ("panel.size=4001", "at most 4000"),
    ("panel.size=3", "4 ≤ value"),
    ("data.name=shape", "did you mean shapes?"),
    ("data.labelling=color", "did you mean colour?"),
    ("data.balance_by=taste", "only counts with batches.stream = balanced"),
    ("views.recipe=simclr", "did you mean simclr-cifar?"),
    ("model.encoder=resnet-smal", "did you mean resnet-small?"),
    ("model.stem=cifar", "model.stem"),
    ("model={encoder = 'vit', stem = 'cifar'}", "model.stem"),
    ("model={encoder = 'vit', patch = 5}", "patch"),
    ("model={encoder = 'vit', heads = 7}", "heads"),
    ("model.depth=3", "model.depth"),
    ("model.dropout=0.1", "only 0: masks"),
    ("model.width=0", "1 ≤ value"),
    ("optimiser.name=adam", "one of sgd, lars, adamw"),
    ("optimiser.trust=0.1", "only counts with optimiser.name = lars"),
    ("optimiser.beta2=0.9", "only counts with optimiser.name = adamw"),
    ("optimiser={name = 'adamw', momentum = 0.9}", "only counts with optimiser.name = sgd or lars"),
    ("optimiser.reference_batch=512", "only counts with optimiser.scaling"),
    ("optimiser.scaling=quadratic", "one of constant, linear, sqrt, fourth-root"),
    ("optimiser.clip_norm=0.0", "0 < value"),
    ("train.views_forward=both", "one of joint, separate"),
    ("train.memory_format=nhwc", "one of contiguous, channels_last"),
    ("train.tf32=true", "only counts with train.device = cuda"),
    ("train.compile=1", "true or false is needed"),
    ("data.classes=[0, 1, 99]", "99"),
    ("data.classes=[3, 3]", "3"),
    ("data.classes=[0.5]", "an integer is needed"),
    ("data.classes=3", "a list of integers"),
    ("data.imbalance=1.0", "1 < value"),
    ("data.per_class=0", "1 ≤ value"),
    ("data={labelling = 'shape', per_class = 3, seed = 0}", "batches.size = 128"),
    ("data.workers=-1", "0 ≤ value"),
    ("data.workers=2", "only counts with image folders"),
    ("data.listing='00'", "only image-folder and hugging-face have one"),
    ("record.similarity={every = 5, last = true}", "the last one has no batch"),
    ("data.name=cifar10", "https://www.cs.toronto.edu"),
    ("data.name=svhn", "train_32x32.mat"),
    ("data.name=tiny-imagenet", "tiny-imagenet"),
    ("data.name=image-folder", "train"),
    ("data.name=cifar-10", "did you mean cifar10?"),
    ("code.files=3", "a list of strings"),
    ("code.files=['absent.py']", "cannot be read"),
    ("code.sha256=['00']", "code.files is empty"),
    ("arms.cl.lam=0.5", "arms.cl.lam"),
    ("arms.h={objective = 'homotopy'}", "arms.h.lam"),
    ("arms.h={objective = 'homotopy', lam = 1.5}", "value ≤ 1"),
    ("arms.cl.positive_in_denominator=true", "nt_xent"),
    ("arms.nscl.positive_in_denominator=1", "true or false is needed"),
    ("arms.t={kind = 'twin', lam = 0.5}", "takes it from the arm it copies"),
    ("arms.ce={objective = 'ce', labelling = 'taste'}", "allowed:"),
    ("panel={stages = true, size = 3}", "4 ≤ value"),
    ("panel.flips_size=32", "only counts with a schedule in record.flips"),
    ("panel.flips_size=0", "1 ≤ value"),
    ("arms.cl.objective=dlc", "did you mean dcl?"),
    ("arms.cl.labelling=hue", "allowed:"),
    ("arms.cl.kind=control", "one of objective, twin"),
    ("arms.cl.kind=twin", "the first arm must have kind = objective"),
    ("arms.cl.scale=0.1", "only controls take it"),
    ("arms.nscl.reference=ce", "another arm: cl"),
    ("arms.nscl.reference=nscl", "another arm: cl"),
    ("arms.nscl.kind=twin", "takes it from the arm it copies"),
    ('arms.t={kind="twin", of="nobody"}', "another arm: cl, nscl"),
    ('arms.t={kind="twin", draw=2}', "only kind = nudged or independent"),
    ('arms.t={kind="twin", scale=0.1}', "only kind = nudged"),
    ('arms.t={kind="nudged", scale="half"}', '"ulp", "matched", or a number'),
    ('arms.t={kind="nudged", scale=2.0}', "value ≤ 1"),
    ('arms.t={kind="nudged", scale=1e-12}', "a nudge that float32 can hold"),
    ("arms.shared.objective=dcl", "not 'shared'"),
    ("arms.a/b.objective=dcl", "letters, digits"),
    ("name=../up", "letters, digits"),
    ("record.panel.evry=2", "did you mean record.panel.every?"),
    ("record.panel=log", "a table is needed"),
    ("record.panel.steps=[1, -2]", "0 ≤ value"),
    ("checkpoints.keep.steps=3", "a list of integers is needed"),
    ("seed=-1", "0 ≤ value"),
    ("seed=1" + "0" * 400, "value ≤ 2^64"),
    ("train.temperature=1" + "0" * 400, "a finite number with 1e-30 ≤ value"),
    ("arms.cl.objective=supcon", "unknown arms.cl.objective supcon"),
    ("seed", "section.field=value"),
    ("seed=[1", "neither TOML nor a bare word"),
    ("seed.x=1", "an integer is needed"),
    ("data.name=fashion-mnist", "dataset-fashion-mnist"),
    ("train.device=cuda", "no CUDA device"),
]


def run(arguments, capsys):
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize(("override", "message"), BAD_SETS)
def test_a_wrong_override_is_one_line(override, message, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    config = tmp_path / "bad.toml"
    config.write_text(f'[paths]\nruns = "{tmp_path}/runs"\ndata = "{tmp_path}"\n' + MINIMAL)
    code, out, err = run(["train", str(config), "--ranks", "1", "--set", override], capsys)
    assert code == 2, err
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("coupled-run: ")
    assert message in err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed = ", "is not TOML"),
        ("seed = 1\n", "no arms"),
        ("[arms.cl]\n", "has no objective"),
        ("arms = 3\n", "tables"),
    ],
)
def test_a_wrong_file_is_one_line(text, message, tmp_path, capsys):
    config = tmp_path / "bad.toml"
    config.write_text(text)
    code, _, err = run(["plan", str(config)], capsys)
    assert (code, err.count("\n")) == (2, 1)
    assert message in err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["trian"],
        ["train"],
        ["train", "x.toml", "--ranks"],
        ["train", "absent.toml"],
        ["plan", "."],
        ["plan", "x.toml/y"],
    ],
)
def test_wrong_arguments_are_one_line(arguments, capsys):
    code, _, err = run(arguments, capsys)
    assert (code, err.count("\n")) == (2, 1)


def test_a_control_alone_in_a_table_is_fine(tmp_path, capsys):
    config = tmp_path / "good.toml"
    config.write_text(MINIMAL + '[arms.t]\nkind = "twin"\n')
    code, out, _ = run(["plan", str(config), "--set", "train.steps=10"], capsys)
    assert code == 0
    assert "parameters      85,736 per arm, 3 arms" in out


def test_fields_are_all_named_and_only_commands_that_work(capsys):
    assert main(["fields"]) == 0
    text = capsys.readouterr().out
    for key in ("train.precision", "arms.<name>.scale", "record.panel", "paths.runs"):
        assert key in text
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert "resume" in text and "sweep" in text and "fork" not in text
