"""`coupled-run export`: one arm of one checkpoint as a plain state dict in safetensors."""

from pathlib import Path

from coupled.errors import UserError, unknown
from coupled.reading.checkpoints import checkpoints_of, open_checkpoint, state_dict
from coupled.reading.run_json import read_run
from coupled.store import REAL, object_path, to_bytes
from coupled.userfiles import output_path


def export(run: str | Path, arm: str, *, step: int | None = None, output: str | Path | None = None) -> Path:
    """Write the state dict of `arm` after `step` updates (default: the last checkpoint); returns the file's path.

    Names and shapes are those of `coupled.models.Network` (`encoder.*`, `projector.*`, and `head.*` of a ce arm); the
    encoders resnet18/34/50 and vit have torchvision's names behind `encoder.`. The default file is
    `export/<arm>-step-<t>.safetensors` inside the run; a file that is there is not replaced unless it is the same.
    Raises UserError for what the run does not have and for an `output` of another suffix, StoreError for damage.
    """
    target = output_path(Path(output), ".safetensors", "a state dict") if output is not None else None
    path = Path(run)
    facts, config, manifest = read_run(path)
    if arm not in config.arms:
        raise unknown("arm", arm, config.arms)
    entries = checkpoints_of(path, manifest)
    if not entries:
        raise UserError(f"{path} has no checkpoint yet", "checkpoints.keep says when it has", "try again later")
    step = max(entries) if step is None else step
    if step not in entries:
        raise UserError(f"no checkpoint at step {step}", "kept are " + ", ".join(map(str, entries)))
    state = state_dict(config, arm, open_checkpoint(path, entries[step], arm, facts["fingerprint"]))
    target = target or object_path(path, f"export/{arm}-step-{step:09d}.safetensors")
    _write(target, to_bytes(state, {"arm": arm, "run": facts["config_digest"], "step": step}))
    return target


def _write(target: Path, data: bytes) -> None:
    if target.exists():
        if target.is_file() and target.read_bytes() == data:
            return
        raise UserError(f"{target} exists", "a new file is needed", "give another --output or remove it")
    try:
        REAL.ensure_directory(target.parent)
        temporary = target.with_name(target.name + ".tmp")
        temporary.unlink(missing_ok=True)  # of an export that was interrupted
        REAL.write_new(temporary, (data,))
        REAL.replace(temporary, target)
    except OSError as error:
        raise UserError(f"{target} cannot be written", str(error.strerror), "give another --output") from None
