"""Turns prompts into first stretches: plain ids, or the trace of earlier branches."""

from __future__ import annotations

from collections.abc import Sequence

from rlcore.inference.branches import GIVEN, Branch, Fork, Sample, Stretch
from rlcore.inference.forks import BranchTree
from rlcore.inference.trace import BranchSpan, ParallelTrace


def plant(samples: Sequence[Sample], ids: Sequence[int], tree: BranchTree) -> None:
    """Give each sample its root. All see the same stretches of the prompt.

    A single sample goes on with the prompt's last stretch; several see it closed, and each draws
    its first token from the law after the prompt.

    Args:
        samples: The samples of one request.
        ids: The prompt's tokens, in canonical order.
        tree: Where they are planted.
    """
    first = _prompt_branch(samples[0], ids, tree)
    _start(samples[0], first, len(ids))
    if len(samples) == 1:
        return
    last = first.stretch
    last.closed = True
    first.visible.append(last)
    first.stretch = tree.new_stretch(first.visible, (last,), last.end)
    shared = list(first.parts)
    first.parts.append(first.stretch)
    for sample in samples[1:]:
        stretch = tree.new_stretch(first.visible, (last,), last.end)
        branch = Branch(sample, None, (sample.index,), stretch)
        branch.visible = list(first.visible)
        for seen in branch.visible:
            seen.holders += 1
        branch.parts = [*shared, stretch]
        _start(sample, branch, len(ids))


def _start(sample: Sample, root: Branch, prompt_tokens: int) -> None:
    sample.root = root
    sample.branches = [root]
    sample.prompt_tokens = prompt_tokens
    sample.first_position = root.stretch.end
    sample.path_end = sample.first_position + sample.request.path_limit


def _prompt_branch(sample: Sample, ids: Sequence[int], tree: BranchTree) -> Branch:
    prompt = sample.request.prompt
    root = Branch(sample, None, (sample.index,), tree.new_stretch((), (), 0))
    if isinstance(prompt, ParallelTrace):
        root.parts = []
        _replant(root, tree, prompt, prompt.tree)
    else:
        _give(root.stretch, ids, tree)
    return root


def _give(stretch: Stretch, ids: Sequence[int], tree: BranchTree) -> None:
    stretch.extend(ids, GIVEN, tree.store.version)
    stretch.prompt = len(ids)


def _replant(branch: Branch, tree: BranchTree, trace: ParallelTrace, span: BranchSpan) -> None:
    """Build the stretches and forks of a branch of a trace; their tokens are given now."""
    at, stretch = span.start, branch.stretch
    for fork in span.forks:
        _own(branch, tree, trace, at, fork.start)
        children = []
        parents: list[Stretch] = []
        seen = len(branch.visible)
        base = tuple(branch.visible)
        for child_span in fork.children:
            child = Branch(
                branch.sample,
                branch,
                child_span.path,
                tree.new_stretch(base, branch.stretch.parents, fork.position + 1),
            )
            child.visible = list(base)
            child.parts = []
            _replant(child, tree, trace, child_span)
            _close(child, tree)
            own = child.visible[seen:]
            parents += own[-1:]
            branch.visible += own
            children.append(child)
        branch.parts.append(Fork(fork.position, children, list(range(len(children)))))
        branch.born = max(branch.born, *(c.path[-1] + 1 for c in children)) if children else 0
        at = fork.stop
        start = int(trace.positions[at]) if at < span.stop else stretch.end
        branch.stretch = tree.new_stretch(branch.visible, parents or branch.stretch.parents, start)
    _own(branch, tree, trace, at, span.stop, last=True)


def _own(
    branch: Branch,
    tree: BranchTree,
    trace: ParallelTrace,
    start: int,
    stop: int,
    last: bool = False,
) -> None:
    _give(branch.stretch, trace.ids[start:stop].tolist(), tree)
    branch.parts.append(branch.stretch)
    if not last:
        _close(branch, tree)


def _close(branch: Branch, tree: BranchTree) -> None:
    stretch = branch.stretch
    if stretch.ids:
        stretch.closed = True
        branch.visible.append(stretch)
        branch.stretch = tree.new_stretch(branch.visible, (stretch,), stretch.end)
