"""From a skeleton to pieces between ends and branchings: kernels that walk each pixel once."""

from __future__ import annotations

import numpy as np

from .compiled import kernel

#: A spur that sticks out of the wall of its vessel by less than this is a roughness of the mask, px.
SPUR_PX = 2.0


@kernel
def _label_nodes(m, kept, width, tables, place):  # type: ignore[no-untyped-def]
    """Number ends and clusters of branching pixels in `place` (flat, from 1); return their number, pixels and degrees."""
    n = 0
    clusters = np.zeros(len(kept), np.int64)
    stack = np.empty(len(kept) + 1, np.int64)
    degree = np.empty(len(kept), np.uint8)
    for i in range(len(kept)):
        degree[i] = tables[3, _code(m, kept[i], width)]
        # Branching pixels wait as -1 until their cluster is filled.
        place[kept[i]] = 0 if degree[i] == 2 else -1
    for i in range(len(kept)):
        p = kept[i]
        if place[p] != -1:
            continue
        n += 1
        place[p] = n
        clusters[i] = n
        if degree[i] < 3:
            continue
        stack[0] = p
        top = 1
        while top:
            top -= 1
            q = stack[top]
            for dr in range(-width, width + 1, width):
                for dc in range(-1, 2):
                    s = q + dr + dc
                    if place[s] == -1 and m[s] and tables[3, _code(m, s, width)] > 2:
                        place[s] = n
                        stack[top] = s
                        top += 1
    for i in range(len(kept)):
        clusters[i] = place[kept[i]]
    return n, clusters, degree


@kernel
def _code(m, p, stride):  # type: ignore[no-untyped-def]
    """Return the eight neighbours of pixel p as bits: north, then clockwise."""
    return (
        m[p - stride]
        | m[p - stride + 1] << 1
        | m[p + 1] << 2
        | m[p + stride + 1] << 3
        | m[p + stride] << 4
        | m[p + stride - 1] << 5
        | m[p - 1] << 6
        | m[p - stride - 1] << 7
    )


@kernel
def _follow(m, first, node, place, seen, width, path):  # type: ignore[no-untyped-def]
    """Walk from pixel `first`, next to `node`, into `path`; return the number of pixels and the node at the end, 0 for none."""
    count = 0
    here, before = first, np.int64(-1)
    while True:
        path[count] = here
        count += 1
        seen[here] = 1
        after = np.int64(-1)
        end = 0
        for k in range(8):
            dr = width * (1 if 0 < k < 4 else (-1 if k > 4 else 0))
            dc = 1 if (k < 2 or k == 7) else (-1 if 3 <= k <= 5 else 0)
            q = here + dr + dc
            if not m[q] or q == before:
                continue
            if place[q]:
                if count > 1 or place[q] != node:
                    end = place[q]
            elif not seen[q]:
                after = q
        if end:
            return count, end
        if after < 0:
            # A ring that comes back to where it began.
            return count, node if count > 2 else 0
        before, here = here, after


@kernel
def trace(m, kept, width, tables):  # type: ignore[no-untyped-def]
    """Return nodes and pieces of a flat skeleton.

    Returns:
        Rows and columns of the nodes `(N, 2)`; number of arms `(N,)`; pixels of all pieces one after another; `(S + 1,)` where each begins;
        `(S, 2)` nodes at the ends, -1 for a ring.
    """
    place = np.zeros(len(m), np.int32)
    n, clusters, degree = _label_nodes(m, kept, width, tables, place)
    seen = np.zeros(len(m), np.uint8)
    points = np.zeros((n, 2))
    size = np.zeros(n)
    room = 1
    for i in range(len(kept)):
        if clusters[i]:
            points[clusters[i] - 1, 0] += kept[i] // width
            points[clusters[i] - 1, 1] += kept[i] % width
            size[clusters[i] - 1] += 1
            room += degree[i]
    room += len(kept) // 3
    for k in range(n):
        points[k] /= size[k]
    pixels = np.empty(len(kept) + 1, np.int64)
    starts = np.zeros(room + 1, np.int64)
    ends = np.empty((room, 2), np.int64)
    arms = np.zeros(n, np.int64)
    s = filled = 0
    for i in range(len(kept)):
        node = clusters[i]
        if not node:
            continue
        p = kept[i]
        for dr in range(-width, width + 1, width):
            for dc in range(-1, 2):
                q = p + dr + dc
                if q == p or not m[q] or seen[q]:
                    continue
                other = place[q]
                count = 0
                if other:
                    # Two nodes that touch: a piece without pixels, once.
                    if other == node or q < p:
                        continue
                else:
                    count, other = _follow(m, q, node, place, seen, width, pixels[filled:])
                    if other == 0 or (other == node and count < 3):
                        continue
                filled += count
                ends[s, 0], ends[s, 1] = node - 1, other - 1
                s += 1
                starts[s] = filled
    for i in range(len(kept)):
        p = kept[i]
        if clusters[i] == 0 and not seen[p]:
            count, _ = _follow(m, p, np.int32(-1), place, seen, width, pixels[filled:])
            if count > 7:
                filled += count
                ends[s, 0], ends[s, 1] = -1, -1
                s += 1
                starts[s] = filled
    for k in range(s):
        for e in range(2):
            if ends[k, e] >= 0:
                arms[ends[k, e]] += 1
    return points, arms, pixels[:filled].copy(), starts[: s + 1].copy(), ends[:s].copy()


@kernel
def cut_spurs(m, distance, width, pieces):  # type: ignore[no-untyped-def]
    """Empty, in place, the pixels of short free ends at branchings; return how many pieces went. `pieces` is what `trace` gives."""
    nodes, arms, pixels, starts, ends = pieces
    arms = arms.copy()
    gone = 0
    for s in range(len(ends)):
        a, b = ends[s]
        if a < 0 or a == b:
            continue
        if arms[a] == 1 and arms[b] > 2:
            free, fork = a, b
        elif arms[b] == 1 and arms[a] > 2:
            free, fork = b, a
        else:
            continue
        row, col = nodes[fork]
        reach = distance[int(row + 0.5) * width + int(col + 0.5)]
        length = np.hypot(nodes[free, 0] - row, nodes[free, 1] - col)
        if length > reach + SPUR_PX or starts[s + 1] - starts[s] > 2 * (reach + SPUR_PX):
            continue
        for i in range(starts[s], starts[s + 1]):
            m[pixels[i]] = 0
        m[int(nodes[free, 0] + 0.5) * width + int(nodes[free, 1] + 0.5)] = 0
        # The fork has lost an arm: its last two stay whatever their length.
        arms[fork] -= 1
        gone += 1
    return gone
