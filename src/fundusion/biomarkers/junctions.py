"""Where vessels meet: how far their walls are one, and which two branchings are a crossing; kernels on the pieces of a skeleton."""

from __future__ import annotations

import numpy as np

from .compiled import kernel

#: Walls have parted when the middles are further apart than both distances to the next pixel outside and so much more, px.
CLEARANCE_PX = 0.5
#: Vessels cross when both go straight on: no arm turns by more than this from the way to the arm that it continues.
STRAIGHT_DEG = 20.0
#: Pixels of an arm that give its direction, and the fewest.
ARM_PX, LEAST_PX = 14, 5
#: Two branchings whose arms are too short for that, or of which one has more than three, are one when they are closer than this times the diameter of
#: the greatest circle between them.
NEAR = 1.3
#: No crossing is longer than this times its radius, as at 10 degrees.
LONGEST = 24.0


@kernel
def arms_of(arms, ends):  # type: ignore[no-untyped-def]
    """Return where the arms of each node begin in a list `(N + 1,)`, and the list: twice the piece, plus one at its last end."""
    begin = np.zeros(len(arms) + 1, np.int64)
    for k in range(len(arms)):
        begin[k + 1] = begin[k] + arms[k]
    listed, filled = np.empty(begin[-1], np.int64), begin[:-1].copy()
    for s in range(len(ends)):
        for k in range(2):
            node = ends[s, k]
            if node >= 0:
                listed[filled[node]] = 2 * s + k
                filled[node] += 1
    return begin, listed


@kernel
def part(distance, width, pieces):  # type: ignore[no-untyped-def]
    """Return after how many pixels from the branching at each end of a piece `(S, 2)` its walls have left those of every other vessel there.

    Up to there the middle of the mask is not the middle of the vessel. 0 at ends that are no branching. `pieces` is what `trace` gives.
    """
    _, arms, pixels, starts, ends = pieces
    begin, listed = arms_of(arms, ends)
    found = np.zeros((len(ends), 2), np.int64)
    for node in range(len(arms)):
        if arms[node] < 3:
            continue
        for a in range(begin[node], begin[node + 1]):
            s, k = listed[a] // 2, listed[a] % 2
            count = starts[s + 1] - starts[s]
            far = 0
            for b in range(begin[node], begin[node + 1]):
                t, e = listed[b] // 2, listed[b] % 2
                others = starts[t + 1] - starts[t]
                if a == b or others == 0:
                    continue
                while far < count:
                    j = min(far, others - 1)
                    p = pixels[starts[s] + far] if k == 0 else pixels[starts[s + 1] - 1 - far]
                    q = pixels[starts[t] + j] if e == 0 else pixels[starts[t + 1] - 1 - j]
                    gap = np.hypot(p // width - q // width, p % width - q % width)
                    if gap > distance[p] + distance[q] + CLEARANCE_PX:
                        break
                    far += 1
            found[s, k] = far + 1
    return found


@kernel
def _line(pixels, starts, width, near, arm, out):  # type: ignore[no-untyped-def]
    """Write middle and direction away from the node (row, col each) of an arm beyond its branching; return whether it is long enough."""
    s, k = arm // 2, arm % 2
    count = starts[s + 1] - starts[s]
    first = max(near[s, k] - 1, 0)
    use = min(ARM_PX, count - first)
    if use < LEAST_PX:
        return False
    out[:] = 0.0
    for j in range(use):
        p = pixels[starts[s] + first + j] if k == 0 else pixels[starts[s + 1] - 1 - first - j]
        lever = j - (use - 1) / 2
        out[0] += (p // width) / use
        out[1] += (p % width) / use
        out[2] += lever * (p // width)
        out[3] += lever * (p % width)
    length = np.hypot(out[2], out[3])
    out[2] /= length
    out[3] /= length
    return True


@kernel
def _turn(one, two):  # type: ignore[no-untyped-def]
    """Return the greater angle, degrees, by which two arms leave the straight way from one to the other."""
    row, col = one[0] - two[0], one[1] - two[1]
    length = np.hypot(row, col)
    if length == 0:
        return 180.0
    cosine = min((one[2] * row + one[3] * col) / length, -(two[2] * row + two[3] * col) / length)
    return np.degrees(np.arccos(min(max(cosine, -1.0), 1.0)))


@kernel
def _crosses(pixels, starts, width, near, arms_listed, s, a, b):  # type: ignore[no-untyped-def]
    """Return the greatest turn of the two vessels that meet at both ends of piece `s`, were it a crossing, and their angle, degrees; -1 where arms
    are too short.
    """
    begin, listed = arms_listed
    lines = np.empty((4, 4))
    n = 0
    for node in (a, b):
        for i in range(begin[node], begin[node + 1]):
            if listed[i] // 2 != s:
                if not _line(pixels, starts, width, near, listed[i], lines[n]):
                    return -1.0, 0.0
                n += 1
    straight = max(_turn(lines[0], lines[2]), _turn(lines[1], lines[3]))
    over = max(_turn(lines[0], lines[3]), _turn(lines[1], lines[2]))
    cosine = lines[0, 2] * lines[1, 2] + lines[0, 3] * lines[1, 3]
    return min(straight, over), np.degrees(np.arccos(min(max(cosine, -1.0), 1.0)))


@kernel
def _reach(distance, width, pieces, s):  # type: ignore[no-untyped-def]
    """Return the radius of the greatest circle in the mask on a piece between two branchings; the middle of a branching may lie outside of the mask."""
    nodes, _, pixels, starts, ends = pieces
    reach = 0.0
    for i in range(starts[s], starts[s + 1]):
        reach = max(reach, distance[pixels[i]])
    for k in range(2):
        row, col = nodes[ends[s, k]]
        reach = max(reach, distance[int(row + 0.5) * width + int(col + 0.5)])
    return reach


@kernel
def _to_join(distance, width, pieces):  # type: ignore[no-untyped-def]
    """Return which pieces lie inside of one crossing `(S,)`."""
    nodes, arms, pixels, starts, ends = pieces
    near = part(distance, width, pieces)
    listed = arms_of(arms, ends)
    found = np.zeros(len(ends), np.bool_)
    taken = np.zeros(len(nodes), np.bool_)
    for s in range(len(ends)):
        a, b = ends[s]
        if a < 0 or a == b or arms[a] < 3 or arms[b] < 3:
            continue
        reach = _reach(distance, width, pieces, s)
        apart = np.hypot(nodes[a, 0] - nodes[b, 0], nodes[a, 1] - nodes[b, 1])
        long = starts[s + 1] - starts[s]
        if apart > LONGEST * reach or long > 1.5 * LONGEST * reach:
            continue
        turn, angle = -1.0, 0.0
        if arms[a] == 3 and arms[b] == 3:
            if taken[a] or taken[b]:
                continue
            turn, angle = _crosses(pixels, starts, width, near, listed, s, a, b)
        if turn < 0:
            found[s] = apart <= 2 * NEAR * reach and long <= 3 * NEAR * reach
        elif turn <= STRAIGHT_DEG:
            # The walls of two straight vessels are one as far as this to both sides of the crossing.
            found[s] = apart <= 2 * (reach + 1) / np.sin(np.radians(max(angle, 5.0)) / 2)
            taken[a] = taken[b] = found[s]
    return found


@kernel
def join_nodes(distance, width, pieces):  # type: ignore[no-untyped-def]
    """Make one node of the two branchings of a crossing; return nodes, arms, pixels, starts and ends anew.

    Where two vessels cross at a slant, thinning makes two branchings of three arms out of one crossing of four.
    """
    nodes, _, pixels, starts, ends = pieces
    n = len(nodes)
    root = np.arange(n)
    kept = ~_to_join(distance, width, pieces)
    for s in range(len(ends)):
        if kept[s]:
            continue
        a, b = ends[s]
        while root[a] != a:
            a = root[a]
        while root[b] != b:
            b = root[b]
        root[max(a, b)] = min(a, b)
    number = np.full(n, -1, np.int64)
    count = 0
    for k in range(n):
        r = k
        while root[r] != r:
            r = root[r]
        root[k] = r
        if r == k:
            number[k] = count
            count += 1
    points, size, new_arms = np.zeros((count, 2)), np.zeros(count), np.zeros(count, np.int64)
    for k in range(n):
        i = number[root[k]]
        points[i] += nodes[k]
        size[i] += 1
    for i in range(count):
        points[i] /= size[i]
    new_pixels, new_starts = np.empty(len(pixels), np.int64), np.zeros(kept.sum() + 1, np.int64)
    new_ends = np.empty((kept.sum(), 2), np.int64)
    filled = s_new = 0
    for s in range(len(ends)):
        if not kept[s]:
            continue
        for i in range(starts[s], starts[s + 1]):
            new_pixels[filled] = pixels[i]
            filled += 1
        for e in range(2):
            new_ends[s_new, e] = number[root[ends[s, e]]] if ends[s, e] >= 0 else -1
            if ends[s, e] >= 0:
                new_arms[new_ends[s_new, e]] += 1
        s_new += 1
        new_starts[s_new] = filled
    return points, new_arms, new_pixels[:filled].copy(), new_starts, new_ends
