"""A run of the pretended trainer through its whole life on a simulated disk, with cuts in it."""

import shutil

from pretended import LENGTHS, check_saved, work
from simulated_disk import PowerCut, SimulatedDisk

from coupled.store import REAL, StoreError, mend, read_manifest, state, tree_hash, verify_object
from coupled.store.rundir import read_config_digest

PREEMPT_AT = 6


class Life:
    """A run through all it can go through (preempted, gone on with, finished, extended), and the cuts in it."""

    def __init__(self, folder, disk=SimulatedDisk):
        self.folder, self.disk = folder, disk
        self.place = folder / "0"
        self.place.mkdir(parents=True)
        self.preempted, self.cuts, self.promised, self.saved, self.fs = False, 0, None, None, None

    @property
    def root(self):
        return self.place / "run"

    def promise(self, saved):
        """From here on these lines may not be lost, until a recovery rewinds them; nor the state that was saved."""
        self.promised, self.saved = (self.root / "manifest.jsonl").read_bytes(), saved

    def began(self, step):
        assert self.saved is None or step >= self.saved, f"saved at {self.saved}, gone on from {step}"

    def live(self, again=None, **moments):
        """Until the end of the longer run, or a cut; True if the end was reached. `again`: on this disk as it is."""
        self.fs = again or self.disk(self.place, **moments)
        try:
            while not self._done():
                self._go_on()
        except (PowerCut, StoreError):
            self.cuts += 1
            return False
        finally:
            self.fs.die()
        return True

    def _done(self):
        return (
            state(self.root, self.fs) == "finished" and read_config_digest(self.root, self.fs) == f"{LENGTHS[1]:064d}"
        )

    def _go_on(self):
        self.promised = None
        mend(self.root, self.fs)
        before = state(self.root, self.fs)
        long = before == "finished" or (
            before == "unfinished" and read_config_digest(self.root, self.fs) != f"{LENGTHS[0]:064d}"
        )
        preempt_at = None if self.preempted or long else PREEMPT_AT
        if before == "finished":
            self.saved = None  # which of its states the longer run has too is for the extension to find
        work(self.root, self.fs, LENGTHS[long], preempt_at, self.promise, self.began)
        self.preempted |= preempt_at is not None

    def cut(self, seed, mode):
        """The power is back: what is on the disk now? Nothing torn is visible, nothing promised is gone."""
        self.place = self.fs.survive(self.folder / str(self.cuts), seed, mode)
        if state(self.root) == "absent":
            assert self.promised is None
            return
        mend(self.root)
        manifest = read_manifest(self.root / "manifest.jsonl")
        for entry in manifest.entries:
            if entry.kind in ("begin", "shard"):
                verify_object(self.root, entry.committed())
        check_saved(self.root, manifest, REAL)
        if self.promised is not None:
            assert (self.root / "manifest.jsonl").read_bytes().startswith(self.promised)


def whole(life, expected):
    """The golden bytes, and no leftovers beside them."""
    assert tree_hash(life.root) == expected
    others = {p.relative_to(life.root).as_posix() for p in life.root.rglob("*") if p.is_file()}
    assert {name for name in others if name.endswith(".tmp") or name.startswith("preempt")} == set()


def survives(folder, expected, cuts, seed=0, mode="random", disk=SimulatedDisk):
    """A life with these cuts, each counted in calls since the one before, ends in the golden bytes."""
    life = Life(folder, disk)
    for number, cut_at in enumerate(cuts):
        if life.live(cut_at=cut_at):
            break
        life.cut(seed + number, mode)
    assert life.live()
    whole(life, expected)
    shutil.rmtree(folder)
