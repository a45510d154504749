"""The job scripts of the pages, run with programs in place of Slurm's: which of them queue their job again."""

import os
import subprocess

import pytest
from page_checks import BLOCKS

SCRIPTS = [block for own in BLOCKS.values() for block in own if block.text.startswith("#!/bin/bash")]
assert len(SCRIPTS) == 2, "a page with another job script?"


@pytest.mark.parametrize(("stops", "code"), [(True, 143), (False, 0), (False, 1), (False, 3)])
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda block: block.page)
def test_a_job_is_queued_again_where_its_run_was_asked_to_stop(script, stops, code, tmp_path):
    """The state of an older stop is there. A run that ended with an error would do so again and again. torchrun ends
    with 1 in place of 143.
    """
    ends = 1 if stops and "torchrun" in script.text else code
    project = tmp_path / "my_project"
    old = project / "runs/NAME/preempt/step-000000003"
    old.mkdir(parents=True)
    (old / "state.json").touch()
    for path in project.rglob("*"):
        os.utime(path, (1e9, 1e9))
    state = "mkdir -p runs/NAME/preempt/step-000000009; touch runs/NAME/preempt/step-000000009"
    new = f"{state}/{'state.json' if stops else 'cl.safetensors'}"  # a state without state.json is none
    programs = {"srun": f"{new}; exit {ends}", "scontrol": f"echo $@ >> {tmp_path}/asked", "coupled-run": "exit 9"}
    for name, does in programs.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{does}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "activate").write_text("")
    text = script.text.replace("/shared/coupled/.venv/bin/activate", str(tmp_path / "activate"))
    job = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_JOB_ID": "77", "SLURM_NNODES": "2", "SLURM_JOB_NODELIST": "a,b"}
    done = subprocess.run(
        ["bash", "-c", text.replace("/shared/my_project", str(project))], cwd=project, env=job, check=False
    )
    asked = (tmp_path / "asked").read_text().splitlines() if (tmp_path / "asked").exists() else []
    assert done.returncode == ends and ("requeue 77" in asked) == stops
    assert not list(project.glob(".began*"))
