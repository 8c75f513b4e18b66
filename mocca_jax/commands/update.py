"""Command: teach a finished run more good parts.

    mocca update runs/my_parts false_alarms
    mocca update runs/my_parts more_good --against=yesterday
    mocca update runs/my_parts --undo

For runs that score by statistics, the default of a folder of pictures. The pictures are added to the statistics as if
the run had been fitted on all of them, and to the good pictures that the threshold comes from. Those that the run knows
already, also turned or saved anew, are left out and named. Pictures that waited in the queue of the run's service go
from queue/good to queue/learnt, and back with --undo. Refused, but with --force, are pictures that score far
beyond all good ones, and such as `mocca check` would find odd beside those of the run.

The detector before is kept in the run's folder as detector-1.npz, detector-2.npz and so on; --undo brings back the
last. Runs of fewer than 100 pictures are fitted anew on all, and any run with --exact, which takes as long as its
training. Runs in tiles keep no pictures: with --exact they read those that were added from where they lay then, and
without it they add to their statistics, of however few. The report of the run stays that of its training.

The exit code is 0, or 1 when nothing was changed.
"""

from pathlib import Path

from mocca_jax.commands.arguments import add_place, begin, parser, place, plain_errors
from mocca_jax.data import cache, incoming
from mocca_jax.data.listing import printable
from mocca_jax.detector import Detector
from mocca_jax.errors import UserError
from mocca_jax.outputs import bundle, stored
from mocca_jax.pipeline import history, update
from mocca_jax.pipeline.update import Updated
from mocca_jax.training import parallel


def main(arguments: list[str] | None = None) -> None:
    """The command, see above."""
    takes = parser(__doc__)
    add_place(takes, "run", "workdir of a finished run", type=Path)
    add_place(takes, "input", "good pictures: files, folders or patterns", many=True)
    takes.add_argument("--exact", action="store_true", help="fit anew on the run's folder and all that was added")
    takes.add_argument("--force", action="store_true", help="add also pictures that would be refused")
    takes.add_argument("--undo", action="store_true", help="bring back the detector before the last update")
    takes.add_argument("--against", type=Path, help="folder of pictures: which alarms vanish, and which are new")
    options = begin(takes, arguments)
    with plain_errors():
        run = place(options, "run", "the run, the folder of a finished training,")
        inputs = place(options, "input")
        if options.undo:
            if inputs or options.exact or options.force or options.against:
                raise UserError("--undo goes alone")
            print(f"update {history.undo(run)} of {run} is undone")
            return
        if not inputs and not options.exact:
            raise UserError("which pictures? Name some, or a folder of them; --exact and --undo go without")
        against = list(incoming.each(options.against)) if options.against else []  # raises before anything is changed
        parallel.configure(0, str(cache.root() / "xla"))
        done = update.update(run, inputs or None, options.force, options.exact)
        print("\n".join(told(done)))
        if against:
            print("\n".join(compared(run, done.number, against)))


def told(done: Updated) -> list[str]:
    """What an update did, as lines for a terminal."""
    lines = [f"left out: {name}: {why}" for name, why in done.left_out.items()] + done.remarks
    count, (before, after) = len(done.added), done.pictures
    how = "fitted anew" if done.anew else "added to the statistics"
    lines.append(f"update {done.number}: {count} picture(s) {how}, {before} -> {after} good pictures")
    lines.append("threshold {:.6g} -> {:.6g}".format(*done.threshold))
    if count:
        were, are = done.alarms
        unseen = "" if done.unseen is None else f"; {done.unseen} would be if they were not known"
        lines.append(f"of those added {were} were alarms before, {are} are now{unseen}")
    if done.queued:
        lines.append(
            f"{len(done.queued)} picture(s) wait no more in the queue: {stored.queue_folder(Path(), 'learnt')}"
        )
    return [*lines, f"the detector before is {stored.before_file(Path(), done.number)}; --undo brings it back"]


def compared(run: Path, number: int, pictures: list[Path]) -> list[str]:
    """Which of the pictures are no alarms any more since an update, and which are new ones, as lines."""
    before, after = (
        Detector.load(path).predict(pictures) for path in (stored.before_file(run, number), run / bundle.FILE)
    )
    kinds = {"no alarm any more": before & ~after, "a new alarm": after & ~before}
    names = [printable(path) for path in pictures]
    changed = [f"{kind}: {name}" for kind, of in kinds.items() for name, is_so in zip(names, of, strict=True) if is_so]
    return [*changed, f"of {len(names)} pictures {before.sum()} were alarms before, {after.sum()} are now"]
