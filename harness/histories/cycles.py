"""Cycles in a graph of transactions: which nodes are in one, and a short one of each class. Pure.

Three graphs decide, each in time proportional to its edges (Adya 1999; Cerone and Gotsman 2018):

    ww and wr                            a cycle is G0 or G1c             forbidden at READ COMMITTED
    ww, wr, and rw without two adjacent  also G-single, G-nonadjacent     forbidden at REPEATABLE READ (snapshots)
    ww, wr and rw                        also G2-item                     forbidden at SERIALIZABLE

In the second graph each transaction is two nodes: reached by rw (`index + size`), which no rw may leave, and not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from harness.histories.graph import Graph

G0, G1C, G_SINGLE, G_NONADJACENT, G2_ITEM = "G0", "G1c", "G-single", "G-nonadjacent", "G2-item"
CLASSES = (G0, G1C, G_SINGLE, G_NONADJACENT, G2_ITEM)
REAL_TIME = "real-time"
"""A cycle with at least one edge of real time: not strictly serializable."""
MAX_VISITS = 1_000_000
"""Nodes that one search visits before it is content with the cycles found so far."""
Successors = Sequence[Sequence[int]]
Cycle = list[int]


def classify(graph: Graph, cycle: Cycle) -> str:
    """Returns the class of a cycle, given as nodes without the repetition of the first."""
    kinds = [graph.kind(before, after) for before, after in edges_of(cycle)]
    if "rt" in kinds:
        return REAL_TIME
    count = kinds.count("rw")
    if not count:
        return G1C if "wr" in kinds else G0
    if count == 1:
        return G_SINGLE
    adjacent = any(kinds[at] == kinds[at - 1] == "rw" for at in range(len(kinds)))
    return G2_ITEM if adjacent else G_NONADJACENT


def edges_of(cycle: Cycle) -> Iterator[tuple[int, int]]:
    """The edges of a cycle; the last leads to the first node."""
    return zip(cycle, [*cycle[1:], cycle[0]], strict=True)


def components(successors: Successors) -> list[list[int]]:
    """Returns the strongly connected components of more than one node (Tarjan 1972); none if there is no cycle."""
    remaining = _not_in_order(successors)
    if not remaining:
        return []
    number: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    on_stack: set[int] = set()
    found: list[list[int]] = []
    for root in remaining:
        if root in number:
            continue
        number[root] = low[root] = len(number)
        stack.append(root)
        on_stack.add(root)
        work = [(root, iter(successors[root]))]
        while work:
            node, following = work[-1]
            for after in following:
                if after not in number:
                    number[after] = low[after] = len(number)
                    stack.append(after)
                    on_stack.add(after)
                    work.append((after, iter(successors[after])))
                    break
                if after in on_stack:
                    low[node] = min(low[node], number[after])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == number[node]:
                    at = len(stack) - 1
                    while stack[at] != node:
                        at -= 1
                    component = stack[at:]
                    del stack[at:]
                    on_stack.difference_update(component)
                    if len(component) > 1:
                        found.append(component)
    return found


def _not_in_order(successors: Successors) -> list[int]:
    """Returns the nodes that a topological sort leaves over: those in a cycle or behind one (Kahn 1962)."""
    waiting = [0] * len(successors)
    for following in successors:
        for after in following:
            waiting[after] += 1
    ready = [node for node, count in enumerate(waiting) if not count]
    for node in ready:
        for after in successors[node]:
            waiting[after] -= 1
            if not waiting[after]:
                ready.append(after)
    return [node for node, count in enumerate(waiting) if count]


def path(successors: Successors, start: int, goal: int, within: frozenset[int]) -> tuple[list[int], int]:
    """Returns a shortest path (breadth first) from start to goal, empty without one, and the nodes visited."""
    came: dict[int, int] = {start: -1}
    queue = deque([start])
    while queue:
        node = queue.popleft()
        if node == goal:
            steps = [node]
            while came[steps[-1]] >= 0:
                steps.append(came[steps[-1]])
            return steps[::-1], len(came)
        for after in successors[node]:
            if after not in came and after in within:
                came[after] = node
                queue.append(after)
    return [], len(came)


def shortest_cycles(graph: Graph) -> dict[str, Cycle]:
    """Returns a short cycle of each class that was found.

    Whether there is a cycle that a level forbids is decided exactly. A weaker class may be missing where its search
    was given up (MAX_VISITS), only if another cycle was found that the same levels forbid.
    """
    found: dict[str, Cycle] = {}
    whole = graph.all()
    parts = components(whole)
    if not parts:
        return found
    part_of = {node: number for number, part in enumerate(parts) for node in part}
    dependencies = _within(graph.dependencies(), part_of)
    ww, wr, rw = (_within(successors, part_of) for successors in (graph.ww, graph.wr, graph.rw))
    size = len(whole)
    for edges, successors in ((_edges(ww), ww), (_edges(wr), dependencies)):
        _close(graph, found, successors, _candidates(edges, components(successors)))
    rw_edges = _edges(rw)
    layered = [[*dependencies[node], *(after + size for after in rw[node])] for node in range(size)] + dependencies
    closed = list(_candidates([(before, after + size) for before, after in rw_edges], components(layered)))
    _close(graph, found, dependencies, ((start - size, goal, members) for start, goal, members in closed))
    _close(graph, found, layered, closed)
    _close(graph, found, _within(whole, part_of), _candidates(rw_edges, parts))
    return found


def _within(successors: Successors, part_of: dict[int, int]) -> list[list[int]]:
    """The edges within a component; none for the other nodes."""
    kept: list[list[int]] = [[] for _ in successors]
    for node, part in part_of.items():
        kept[node] = [after for after in successors[node] if part_of.get(after) == part]
    return kept


def _edges(successors: Successors) -> list[tuple[int, int]]:
    """All edges, those between transactions near in the history first."""
    edges = [(node, after) for node, following in enumerate(successors) for after in following]
    return sorted(edges, key=lambda edge: abs(edge[0] - edge[1]))


Candidate = tuple[int, int, frozenset[int]]
"""The end and the start of an edge, and the component that contains both."""


def _candidates(edges: Iterable[tuple[int, int]], parts: Sequence[list[int]]) -> Iterator[Candidate]:
    members = [frozenset(part) for part in parts]
    part_of = {node: number for number, part in enumerate(parts) for node in part}
    for before, after in edges:
        number = part_of.get(before)
        if number is not None and part_of.get(after) == number:
            yield after, before, members[number]


def _close(graph: Graph, found: dict[str, Cycle], successors: Successors, candidates: Iterable[Candidate]) -> None:
    """Closes each candidate to a shortest cycle over `successors`, and keeps the shortest of its class.

    Nodes beyond the transactions are their second nodes. The first candidate of a component always closes.
    """
    size = len(graph.ww)
    visits = 0
    for start, goal, members in candidates:
        back, visited = path(successors, start, goal, members)
        for cycle in _simple([node % size for node in back]):
            kind = classify(graph, cycle)
            if kind not in found or len(cycle) < len(found[kind]):
                found[kind] = cycle
        visits += visited
        if visits > MAX_VISITS:
            return


def _simple(walk: list[int]) -> list[Cycle]:
    """Divides a closed walk where it meets a node again, into cycles that meet each node once."""
    place: dict[int, int] = {}
    for at, node in enumerate(walk):
        if node in place:
            first = place[node]
            return [*_simple(walk[first:at]), *_simple(walk[:first] + walk[at:])]
        place[node] = at
    return [walk] if walk else []


def real_time_cycle(graph: Graph, after_end: Successors) -> Cycle:
    """Returns a short cycle of transactions with edges of real time, empty without one; instants are left out."""
    size = len(graph.ww)
    successors = [[*edges, *more] for edges, more in zip(graph.all(), after_end[:size], strict=True)]
    successors += [list(each) for each in after_end[size:]]
    best: Cycle = []
    for part in components(successors):
        members = frozenset(part)
        visits = 0
        for before in part:
            for after in successors[before]:
                if before < size and after < size and after in members and visits < MAX_VISITS:
                    back, visited = path(successors, after, before, members)
                    visits += visited
                    cycle = [node for node in back if node < size]
                    if not best or len(cycle) < len(best):
                        best = cycle
    return best
