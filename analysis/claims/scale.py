"""What runs trained, in words: minutes of a small network settle no claim about hundreds of epochs of a ResNet-50."""

from collections.abc import Iterable

from analysis.claims.sweeps import SweepRun


def scale_of(runs: Iterable[SweepRun]) -> str:
    """Data set, encoder, steps, batch size, epochs, stream and precision of runs, with all values of what varies."""
    begun = [run for run in runs if run.summary is not None]
    if not begun:
        return ""
    epochs = [_epochs(run) for run in begun]
    parts = [
        _values(run.setting("data.name") for run in begun),
        _values(f"{run.setting('model.encoder')} of width {run.setting('model.width')}" for run in begun),
        f"{_range(int(run.setting('train.steps')) for run in begun)} steps",
        f"B = {_values(run.setting('batch_size') for run in begun)}",
        f"{_range(each for each in epochs if each is not None)} epochs" if None not in epochs else "",
        f"{_values(run.setting('batches.stream') for run in begun)} stream",
        _values(run.setting("train.precision") for run in begun),
    ]
    return ", ".join(part for part in parts if part)


def _epochs(run: SweepRun) -> float | None:
    assert run.summary is not None
    per_epoch = run.summary.about["steps_per_epoch"]
    return run.summary.about["planned"] / per_epoch if per_epoch else None


def _values(values: Iterable[object]) -> str:
    return ", ".join(dict.fromkeys(map(str, values)))


def _range(values: Iterable[float]) -> str:
    numbers = sorted(set(values))
    return f"{numbers[0]:.3g}" if len(numbers) == 1 else f"{numbers[0]:.3g} to {numbers[-1]:.3g}"
