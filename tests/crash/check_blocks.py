"""Parallel blocks: invariants 10 to 12."""

from __future__ import annotations

from collections import defaultdict

from .evidence import Evidence, Execution, is_under, predecessor, top_of
from .model import CANCELLED, ERROR, NEVER_STARTED, OK, TIMED_OUT, Done, Findings, Line, Node, RunDump, Tree

_FAILED = (ERROR, TIMED_OUT)


def check_blocks(evidence: Evidence, findings: Findings) -> None:
    """Everything that happened in and around blocks."""
    for run, executions in evidence.by_run.items():
        if run not in evidence.episode.runs:
            continue
        by_boot: dict[int, list[Execution]] = defaultdict(list)
        for execution in executions:
            by_boot[execution.enter.boot].append(execution)
        for boot, in_boot in by_boot.items():
            _check_out(evidence, run, boot, in_boot, findings)
            _check_sealed(evidence, run, boot, in_boot, findings)
            _check_limit(evidence, run, in_boot, findings)
        for execution in executions:
            _check_kept(evidence, execution, findings)
            _check_results(evidence, execution, findings)
    for boot, dump in enumerate(evidence.episode.dumps):
        for run_dump in dump.runs.values():
            if (
                run_dump.error is None
                and run_dump.id in evidence.episode.runs
                and evidence.is_sound(run_dump.id, boot)
            ):
                _check_order(evidence.tree(run_dump.id), run_dump, findings)


def _check_out(
    evidence: Evidence, run: str, boot: int, executions: list[Execution], findings: Findings
) -> None:
    """When something after a block begins, or the run's end is told, every body in the block is out."""
    tree = evidence.tree(run)
    told = [line for line in evidence.by_boot[boot] if line.kind == "ack-result" and line.run == run]
    for later in [execution.enter for execution in executions] + told[:1]:
        for earlier in executions:
            if earlier.enter.number >= later.number or not _must_be_out(tree, earlier, later):
                continue
            end = earlier.end
            findings.expect(
                end is not None and end.number < later.number,
                10,
                run,
                earlier.enter.path,
                "it was running when what comes after it began",
                earlier.enter,
                later,
            )


def _must_be_out(tree: Tree, earlier: Execution, later: Line) -> bool:
    """Whether ``later`` comes after the block or sequence part that ``earlier`` is in."""
    one, two = earlier.enter.path, later.path
    if not two:
        return True  # the run's end
    if later.kind == "into-enter" and is_under(one, two) and earlier.enter.visit == later.visit:
        return True
    if top_of(one) != top_of(two) or earlier.enter.visit != later.visit:
        return True
    ones, twos = one.split("/"), two.split("/")
    shared = 0
    while shared < min(len(ones), len(twos)) and ones[shared] == twos[shared]:
        shared += 1
    if shared in (len(ones), len(twos)):
        return False
    return tree.at("/".join(ones[:shared])).chains


def _check_sealed(
    evidence: Evidence, run: str, boot: int, executions: list[Execution], findings: Findings
) -> None:
    """Nothing starts in a block once its fate is known, nor later in another boot."""
    tree = evidence.tree(run)
    before, after = evidence.before(run, boot), evidence.after(run, boot)
    visits = {(path, e.enter.visit) for e in executions for path in _blocks_above(tree, e.enter.path)}
    for path, visit in visits:
        node = tree.at(path)
        if not node.fail_fast and not node.need:
            continue
        inside = [e for e in executions if is_under(e.enter.path, path) and e.enter.visit == visit]
        sealed = _sealed_at(tree, node, visit, before, after, inside)
        if sealed is None:
            continue
        what, number = sealed
        for execution in inside:
            findings.expect(
                execution.enter.number <= number,
                10,
                run,
                execution.enter.path,
                f"it started when the fate of block {path} was known",
                what,
                execution.enter,
            )


def _sealed_at(
    tree: Tree, node: Node, visit: int, before: RunDump | None, after: RunDump | None, inside: list[Execution]
) -> tuple[object, int] | None:
    """What seals the block in this boot, and the number of its line (-1: it was recorded before)."""
    known = before.done if before is not None and before.error is None else {}
    branches = tree.branches(before, node.path, visit)
    recorded = [known[path, visit] for path in branches if (path, visit) in known]
    failures = [done for done in recorded if done.status in _FAILED]
    successes = sum(done.status == OK for done in recorded)
    if node.fail_fast and failures:
        return failures[0], -1
    if node.need and successes >= node.need:
        return recorded, -1
    later = after.done if after is not None and after.error is None else {}
    for execution in sorted(inside, key=lambda e: e.end.number if e.end is not None else 0):
        end = execution.end
        if end is None or execution.is_into or tree.at(end.path).mode == "thread":
            continue
        outcome = later.get((end.path, visit))
        if outcome is None or outcome.attempt != end.attempt:
            continue
        if (
            node.fail_fast
            and outcome.status == ERROR
            and end.kind in {"raise", "err"}
            and _at_once(tree, node, end.path)
        ):
            return end, end.number
        if tree.at(end.path).parent == node.path and outcome.status == OK and end.kind == "return":
            successes += 1
            if node.need and successes >= node.need:
                return end, end.number
    return None


def _at_once(tree: Tree, block: Node, path: str) -> bool:
    """Whether the failure of this step is the block's in the same moment: only sequences lie between."""
    parent = tree.at(path).parent
    while parent != block.path:
        if not tree.at(parent).chains:
            return False
        parent = tree.at(parent).parent
    return True


def _blocks_above(tree: Tree, path: str) -> list[str]:
    found = []
    node = tree.find(path)
    while node is not None and node.parent:
        node = tree.at(node.parent)
        if node.gathers:
            found.append(node.path)
    return found


def _check_limit(evidence: Evidence, run: str, executions: list[Execution], findings: Findings) -> None:
    """No more than ``limit`` branches at once; only branches that are single steps are counted."""
    tree = evidence.tree(run)
    running: dict[tuple[str, int], set[str]] = defaultdict(set)
    events = [(e.enter.number, True, e) for e in executions if not e.is_into]
    events += [(e.end.number, False, e) for e in executions if e.end is not None and not e.is_into]
    for _, entered, execution in sorted(events, key=lambda event: event[0]):
        path = execution.enter.path
        node = tree.find(path)
        parent = node.parent if node is not None else ""
        limit = tree.at(parent).limit if parent else None
        if limit is None:
            continue
        here = running[parent, execution.enter.visit]
        if entered:
            here.add(path)
            findings.expect(
                len(here) <= limit,
                10,
                run,
                parent,
                f"more than {limit} branches ran at once",
                execution.enter,
                here,
            )
        else:
            here.discard(path)


def _check_kept(evidence: Evidence, execution: Execution, findings: Findings) -> None:
    """A body that returned is recorded Ok, if anything is: no cancellation loses its result."""
    if not execution.ended("return") or execution.end is None:
        return
    end = execution.end
    after = evidence.after(end.run, end.boot)
    if after is None or after.error is not None or not evidence.is_sound(end.run, end.boot):
        return
    done = after.done.get((end.path, end.visit))
    if done is None or (done.status == OK and done.own is None):
        return
    findings.expect(
        done.status == OK and done.own == end.value,
        10,
        end.run,
        end.path,
        "it returned, and something else is recorded",
        end,
        done,
    )


def _check_results(evidence: Evidence, execution: Execution, findings: Findings) -> None:
    """What ``into``, or the step after a block without one, was given."""
    enter = execution.enter
    tree = evidence.tree(enter.run)
    after = evidence.after(enter.run, enter.boot)
    if enter.more is None or after is None or after.error is not None:
        return
    if not evidence.is_sound(enter.run, enter.boot) or tree.find(enter.path) is None:
        return
    if execution.is_into:
        block, visit = tree.at(enter.path), enter.visit
    else:
        before, leads_here = predecessor(tree, after, enter.path, enter.visit)
        before = _last_block(tree, after, before) if leads_here else None
        if before is None or is_under(enter.path, before.path):
            return
        block, visit = tree.at(before.path), before.visit
        if "/" in enter.path and _blocks_in(tree, enter.path):
            return  # it may see the results of a block beside it
    keys = tuple(key for key, _, _ in enter.more)
    branches = tree.branches(after, block.path, visit)
    declared = block.keys
    if block.kind == "map":
        declared = tuple(f"{block.keys[0]}/{index}" for index in range(len(branches)))
    findings.expect(
        keys == declared,
        11,
        enter.run,
        block.path,
        "its results are not one per branch in declared order",
        declared,
        enter,
    )
    paths = dict(zip(declared, branches, strict=True))
    for key, tag, whole in enter.more:
        path = paths.get(key, "")
        done = after.done.get((path, visit))
        fits = (
            done is not None
            and (done.whole is None or done.whole == whole)
            and (tag == "ok") == (done.status == OK)
        )
        if tree.sync or done is not None:
            findings.expect(
                fits,
                12,
                enter.run,
                path,
                f"its result {key!r} was passed on, and is not what is recorded",
                f"{enter}: {tag} {whole}",
                done,
            )


def _last_block(tree: Tree, dump: RunDump, before: Done | None) -> Done | None:
    """The last block without ``into`` at the top level, up to a record: its results are in the context."""
    if before is None:
        return None
    earlier = dump.top[: dump.top.index(before) + 1]
    blocks = [d for d in earlier if tree.at(d.path).gathers and not tree.at(d.path).into]
    return blocks[-1] if blocks and blocks[-1].status == OK else None


def _blocks_in(tree: Tree, path: str) -> bool:
    """Whether a block without ``into`` stands before this node in one of the sequences around it."""
    node = tree.at(path)
    while node.parent:
        earlier = node.before
        while earlier:
            if tree.at(earlier).gathers and not tree.at(earlier).into:
                return True
            earlier = tree.at(earlier).before
        node = tree.at(node.parent)
    return False


def _check_order(tree: Tree, dump: RunDump, findings: Findings) -> None:
    """A block's record comes behind those of all its branches; each branch has a state of its own."""
    seen: set[tuple[str, int]] = set()
    for record in dump.records:
        if not isinstance(record, Done):
            continue
        node = tree.find(record.path)
        if node is not None and node.gathers and record.status not in {CANCELLED, NEVER_STARTED}:
            branches = tree.branches(dump, node.path, record.visit)
            for child in branches:
                findings.expect(
                    (child, record.visit) in seen or record.status == TIMED_OUT,
                    10,
                    dump.id,
                    child,
                    "its block was recorded before it",
                    record,
                    sorted(seen)[-3:],
                )
            if not node.fail_fast and not node.need:
                states = [dump.done.get((child, record.visit)) for child in branches]
                whole = all(done is not None for done in states)
                findings.expect(whole, 11, dump.id, record.path, "a branch has no entry", record, states)
        seen.add((record.path, record.visit))
