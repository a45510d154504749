"""A Slurm that only pretends: its programs, in a folder that comes first in PATH. What sbatch gets stays there."""

import os
from pathlib import Path

SBATCH = """#!/bin/sh
[ -e {folder}/refuse ] && {{ cat {folder}/refuse >&2; exit 1; }}
cp "$1" {folder}/script.sh
echo "$1" >> {folder}/calls
echo Submitted batch job 4711
"""
SQUEUE = """#!/bin/sh
echo "$@" >> {folder}/asked
[ -e {folder}/down ] && {{ cat {folder}/down >&2; exit 1; }}
cat {folder}/queue 2> /dev/null
exit 0
"""


def fake_slurm(folder, monkeypatch):
    """Puts the programs there; returns the folder. A file `refuse`: sbatch takes nothing; `queue`: what is queued;
    `down`: squeue fails.
    """
    folder = Path(folder)
    folder.mkdir()
    for name, text in (("sbatch", SBATCH), ("squeue", SQUEUE), ("srun", "#!/bin/sh\n"), ("scontrol", "#!/bin/sh\n")):
        (folder / name).write_text(text.format(folder=folder))
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return folder
