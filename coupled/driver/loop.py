"""The one loop, as a table of contents."""

from signal import Signals

from coupled.driver.checks import check_copies, check_moves
from coupled.driver.reporter import Reporter
from coupled.driver.run import Run
from coupled.driver.signals import Preemption
from coupled.driver.standings import standings
from coupled.errors import Preempted, UserError
from coupled.graphs import GraphError
from coupled.inputs.source import Batch
from coupled.terminal.shell import shell
from coupled.theory.learning_rate import learning_rate


def lockstep(run: Run, reporter: Reporter, preemption: Preemption | None = None) -> None:
    """The one loop: step t is the state after t updates."""
    reporter.begin(run)
    run.begin()
    run.mirrors.begin(run.start, reporter.note, run.log)
    steps = run.config.train.steps
    for step in range(run.start, steps):
        meet(run, step, reporter, preemption)
        advance(run, step)
        reporter.stepped(step + 1)
    meet(run, steps, reporter, None)
    run.finish()


def forward_backward(run: Run, batch: Batch) -> UserError | GraphError | None:
    """The gradients of every arm here, and of other losses that are asked for. The error of a user's objective, or of a
    graph of this step or of the one before, is returned: the guard, which all ranks reach, raises it.
    """
    try:
        run.audits.forward_backward(batch.step, run.arms, batch)
    except UserError as error:
        return error
    return run.graphs.refused


def meet(run: Run, step: int, reporter: Reporter, preemption: Preemption | None) -> None:
    """Between two steps: show all ranks' progress where that is due, and leave if a signal asked any of them to."""
    signal = 0 if preemption is None else preemption.asked
    asked, due, mirrored = run.mesh.most(signal, reporter.is_due(step), run.mirrors.is_due(step))
    if due and step > run.start:
        reporter.show(step, standings(run))
    if mirrored:
        run.mirrors.look(step)
    if asked:
        leave(run, step, Signals(asked).name)


def advance(run: Run, step: int) -> None:
    """Every arm from `step` to `step` + 1."""
    batch = run.batch_at(step)
    rate = learning_rate(run.config.optimiser, step, run.config.batches.size)
    error = forward_backward(run, batch)
    run.recorder.settle()  # the rows and flags of the step before: a GPU has this one to do meanwhile
    run.guard.check(step, error)
    if not run.is_behind(step):
        run.guard.read()
    run.recorder.observe(step, batch, run.chains.extend(batch, rate))
    for arm in run.arms.values():
        arm.update(rate, run.guard.halted)
    run.recorder.observe_update(step)
    move(run, step + 1, rate)
    check_copies(run, step + 1)
    run.checkpoint(step + 1)


def move(run: Run, step: int, rate: float) -> None:
    """What late nudges and kicks add to the weights of state `step`, which the update at `rate` has made."""
    if not run.moves.are_due(step):
        return
    # Only a nudge asks a user's objective for something, which may fail on the ranks of its arm alone.
    meeting = run.mesh.together if run.moves.nudge(step) else lambda act: act()
    moved = meeting(lambda: run.moves.add(step, run.audits, rate))
    check_moves(run, step, moved)
    run.ledger.moved(moved.added)


def leave(run: Run, step: int, signal: str) -> None:
    """Make the state durable and go."""
    run.preempt(step)
    run.log({"event": "preempted", "step": step, "signal": signal})
    run.mirrors.look_once_more(step)
    raise run.mesh.ending(
        Preempted(f"{signal}: stopped at step {step}, nothing is lost; next: coupled-run resume {shell(run.root)}")
    )
