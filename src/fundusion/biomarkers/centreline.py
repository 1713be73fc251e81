"""Centre lines to a fraction of a pixel, with width and curvature at each point.

Steps of pixels make a line longer than the vessel; so the points are moved to the middle of the profile across the mask, put one pixel
apart, and smoothed by a Gaussian that is applied twice with opposite sign for what it took away (2G - GG), so that bends
keep their size.

Source: width by the profile across the vessel: Bankhead et al. 2012, doi:10.1371/journal.pone.0032435 (there on grey values). Compensated smoothing after
Taubin 1995, doi:10.1145/218380.218473.
"""

from __future__ import annotations

import numpy as np

from .compiled import kernel
from .junctions import part

#: Deviation of the smoothing along the line, px: before and after the points are moved to the middle.
ROUGH_PX, FINE_PX = 1.5, 3.0
#: Curvatures, which the steps of pixels disturb most, are those of parabolas over so many pixels to both sides.
BEND_PX = 20
#: Half of the number of points over which a width is averaged.
WIDTH_WINDOW = 4
#: Points of a vessel beside a branching that give the direction of its continuation, and the fewest that must be clear of both branchings.
FIT_POINTS, LEAST_CLEAR = 12, 5


@kernel
def _sample(m, width, height, row, col):  # type: ignore[no-untyped-def]
    """Return the mask between pixels by bilinear interpolation; outside the picture it is empty."""
    if not (row >= 0 and col >= 0 and row < height - 1 and col < width - 1):
        return 0.0
    r, c = np.int64(row), np.int64(col)
    y, x = row - r, col - c
    p = r * width + c
    return (1 - y) * ((1 - x) * m[p] + x * m[p + 1]) + y * ((1 - x) * m[p + width] + x * m[p + width + 1])


@kernel
def _side(m, width, height, row, col, drow, dcol, sure, reach, step):  # type: ignore[no-untyped-def]
    """Return the length of the mask from a point in one direction, and its first moment; up to `sure` all is inside."""
    total = moment = 0.0
    before = 1.0
    t = sure + step / 2
    while t < reach:
        value = _sample(m, width, height, row + t * drow, col + t * dcol)
        # Past the wall: empty, or already the next vessel.
        if value < 0.02 or (before < 0.5 and value > before + 1e-9):
            break
        total += value
        moment += value * t
        before = value
        t += step
    return sure + total * step, 0.5 * sure * sure + moment * step


@kernel
def _profile(m, distance, width, height, row, col, drow, dcol, step):  # type: ignore[no-untyped-def]
    """Return the width across a direction at a point, and how far the middle lies to the left."""
    p = min(max(int(row + 0.5), 0), height - 1) * width + min(max(int(col + 0.5), 0), width - 1)
    # A point is at most 0.71 px from the centre of its pixel, and interpolation sees 1.41 px further.
    sure = max(distance[p] - 2.2, 0.0)
    reach = 2 * distance[p] + 2
    left, left_moment = _side(m, width, height, row, col, -dcol, drow, sure, reach, step)
    right, right_moment = _side(m, width, height, row, col, dcol, -drow, sure, reach, step)
    whole = left + right
    return whole, (left_moment - right_moment) / whole if whole > 0.1 else 0.0


@kernel
def _taps(sigma, half, twice):  # type: ignore[no-untyped-def]
    """Return the weights of the smoothing: a Gaussian G, or 2G - GG."""
    taps = np.empty(2 * half + 1)
    for k in range(-half, half + 1):
        taps[k + half] = np.exp(-0.5 * (k / sigma) ** 2)
    taps /= taps.sum()
    if not twice:
        return taps
    again = np.zeros(4 * half + 1)
    for i in range(2 * half + 1):
        for j in range(2 * half + 1):
            again[i + j] -= taps[i] * taps[j]
        again[i + half] += 2 * taps[i]
    return again


@kernel
def _smooth(line, count, taps, out):  # type: ignore[no-untyped-def]
    """Smooth `(count, 2)` points; both ends stay, because the line goes on mirrored through them."""
    half = len(taps) // 2
    if half >= count:
        cut = half - (count - 1)
        taps = taps[cut : len(taps) - cut] / taps[cut : len(taps) - cut].sum()
        half = count - 1
    for i in range(count):
        row = col = 0.0
        if half <= i < count - half:
            for k in range(2 * half + 1):
                row += taps[k] * line[i - half + k, 0]
                col += taps[k] * line[i - half + k, 1]
        else:
            for k in range(2 * half + 1):
                j = i - half + k
                if j < 0:
                    row += taps[k] * (2 * line[0, 0] - line[-j, 0])
                    col += taps[k] * (2 * line[0, 1] - line[-j, 1])
                elif j >= count:
                    row += taps[k] * (2 * line[count - 1, 0] - line[2 * count - 2 - j, 0])
                    col += taps[k] * (2 * line[count - 1, 1] - line[2 * count - 2 - j, 1])
                else:
                    row += taps[k] * line[j, 0]
                    col += taps[k] * line[j, 1]
        out[i, 0], out[i, 1] = row, col


@kernel
def _direction(line, count, i, span):  # type: ignore[no-untyped-def]
    """Return the unit direction of a line at a point, from points `span` to both sides."""
    a, b = max(0, i - span), min(count - 1, i + span)
    row, col = line[b, 0] - line[a, 0], line[b, 1] - line[a, 1]
    length = np.hypot(row, col)
    return (row / length, col / length) if length > 0 else (0.0, 1.0)


@kernel
def _center(m, distance, width, height, line, count, near, out):  # type: ignore[no-untyped-def]
    """Move points to the middle of the mask across the line; within `near` points of an end they follow the line."""
    for i in range(count):
        drow, dcol = _direction(line, count, i, 3)
        row, col = line[i]
        shift = 0.0
        if near[0] <= i < count - near[1]:
            shift = _profile(m, distance, width, height, row, col, drow, dcol, 1.0)[1]
        shift = min(max(shift, -1.0), 1.0)
        out[i, 0], out[i, 1] = row - shift * dcol, col + shift * drow


@kernel
def _tip(m, width, height, line, count, at_start, half):  # type: ignore[no-untyped-def]
    """Return by how much a free end must grow (or shrink, below 0) to lie half a width before the end of the mask."""
    i = 0 if at_start else count - 1
    drow, dcol = _direction(line, count, i, max(3, int(2 * half)))
    if at_start:
        drow, dcol = -drow, -dcol
    t = 0.0
    while t < 3 * half + 4:
        if _sample(m, width, height, line[i, 0] + t * drow, line[i, 1] + t * dcol) < 0.5:
            break
        t += 0.25
    return min(max(t - half, -half), half + 1), drow, dcol


@kernel
def _resample(line, count, first, last, most, out):  # type: ignore[no-untyped-def]
    """Put points about one pixel apart from arc length `first` to `last` of a line; return their number and distance."""
    number = min(max(2, int(last - first + 0.5) + 1), most)
    step = max((last - first) / (number - 1), 1e-9)
    j, done = 0, 0.0
    length = np.hypot(line[1, 0] - line[0, 0], line[1, 1] - line[0, 1])
    for i in range(number):
        want = first + i * step
        while j < count - 2 and done + length < want:
            done += length
            j += 1
            length = np.hypot(line[j + 1, 0] - line[j, 0], line[j + 1, 1] - line[j, 1])
        share = (want - done) / length if length > 0 else 0.0
        out[i, 0] = line[j, 0] + share * (line[j + 1, 0] - line[j, 0])
        out[i, 1] = line[j, 1] + share * (line[j + 1, 1] - line[j, 1])
    return number, step


@kernel
def bend(line, bounds, out):  # type: ignore[no-untyped-def]
    """Write the signed curvature at the points within bounds (first, one past the last), 0 elsewhere; turning left is positive.

    It is that of the parabola through the points up to `BEND_PX` to both sides. Nearer to an end the last whole window counts, because a
    window of one side only would see mostly noise; a line that is shorter than a window has one curvature.
    """
    out[:] = 0.0
    first, last = bounds
    half = min(BEND_PX, (last - first - 1) // 2)
    if half < 2:
        return
    count = 2 * half + 1
    # Smoothing has shortened the line a little, so that its points are no longer as far apart as they were put.
    step = 0.0
    for i in range(first + 1, last):
        step += np.hypot(line[i, 0] - line[i - 1, 0], line[i, 1] - line[i - 1, 1]) / (last - first - 1)
    middle = (count * count - 1) / 12.0
    slope, arch = 0.0, 0.0
    for j in range(-half, half + 1):
        slope += j * j
        arch += (j * j - middle) ** 2
    for i in range(first + half, last - half):
        row = col = row2 = col2 = 0.0
        for j in range(1, half + 1):
            one, two = line[i + j, 0], line[i - j, 0]
            row += j * (one - two)
            row2 += (j * j - middle) * (one + two)
            one, two = line[i + j, 1], line[i - j, 1]
            col += j * (one - two)
            col2 += (j * j - middle) * (one + two)
        row, col = row / slope, col / slope
        row2, col2 = 2 * (row2 - middle * line[i, 0]) / arch, 2 * (col2 - middle * line[i, 1]) / arch
        speed = np.hypot(row, col)
        if speed > 0 and step > 0:
            out[i] = (row * col2 - col * row2) / (speed * step * step)
    out[first : first + half] = out[first + half]
    out[last - half : last] = out[last - half - 1]


@kernel
def _grow(m, distance, width, height, raw, count, reach, total, at_start):  # type: ignore[no-untyped-def]
    """Return by how much the line grows at a free end; where it does, the end point is moved."""
    i = min(count - 1, int(2 * reach))
    i = i if at_start else count - 1 - i
    drow, dcol = _direction(raw, count, i, 3)
    half = _profile(m, distance, width, height, raw[i, 0], raw[i, 1], drow, dcol, 0.5)[0] / 2
    grow, drow, dcol = _tip(m, width, height, raw, count, at_start, half)
    grow = max(grow, -0.4 * total)
    if grow > 0:
        e = 0 if at_start else count - 1
        raw[e, 0] += grow * drow
        raw[e, 1] += grow * dcol
    return grow


@kernel
def _straighten(line, count, near, out):  # type: ignore[no-untyped-def]
    """Replace, in place, the points within `near` of each end by a straight continuation of those beyond; write the length of both in `out`."""
    for k in range(2):
        if near[k] == 0:
            continue
        use = min(FIT_POINTS, count - near[0] - near[1])
        i = near[0] if k == 0 else count - 1 - near[1]
        sign = 1 if k == 0 else -1
        mean_row = mean_col = row = col = spread = 0.0
        for j in range(use):
            lever = j - (use - 1) / 2
            mean_row += line[i + sign * j, 0] / use
            mean_col += line[i + sign * j, 1] / use
            row += lever * line[i + sign * j, 0]
            col += lever * line[i + sign * j, 1]
            spread += lever * lever
        row /= spread
        col /= spread
        for j in range(1, near[k] + 1):
            lever = -j - (use - 1) / 2
            line[i - sign * j, 0] = mean_row + lever * row
            line[i - sign * j, 1] = mean_col + lever * col
        out[k] = near[k] * np.hypot(row, col)


@kernel
def _join(line, count, step, zone, node, k):  # type: ignore[no-untyped-def]
    """Put, in place, the points of an end that lie within `zone` of it on the straight way to the node."""
    n = min(int(zone / step) + 1, count - 1)
    last = n if k == 0 else count - 1 - n
    row, col = line[last]
    for j in range(n):
        i = j if k == 0 else count - 1 - j
        line[i, 0] = node[0] + (row - node[0]) * j / n
        line[i, 1] = node[1] + (col - node[1]) * j / n


@kernel
def _one(m, distance, width, height, raw, count, free, near, fine, most, line, scratch, widths, bends, step, zone):  # type: ignore[no-untyped-def]
    """Turn one path of pixels into a centre line; return its number of points. `zone` becomes the length that the branchings take at both ends."""
    nodes = np.empty((2, 2))
    nodes[0], nodes[1] = raw[0], raw[count - 1]
    clear = count - near[0] - near[1] >= LEAST_CLEAR
    if not clear:
        near = np.minimum(near, max(0, (count - 3) // 2))
    _smooth(raw, count, fine[0], scratch)
    _center(m, distance, width, height, scratch, count, near, raw)
    if clear:
        _straighten(raw, count, near, zone)
    total = 0.0
    for i in range(1, count):
        total += np.hypot(raw[i, 0] - raw[i - 1, 0], raw[i, 1] - raw[i - 1, 1])
    for k in range(2):
        if not clear and near[k]:
            zone[k] = near[k] * total / max(count - 1, 1)
    first, last = 0.0, total
    if free[0]:
        grow = _grow(m, distance, width, height, raw, count, zone[0], total, True)
        first -= min(grow, 0.0)
        last += max(grow, 0.0)
    if free[1]:
        last += _grow(m, distance, width, height, raw, count, zone[1], total, False)
    number, step[0] = _resample(raw, count, first, last, most, scratch)
    # A line too short for the usual smoothing gets a weaker one.
    short = max(0.5, number / 8)
    taps = fine[1] if short >= FINE_PX else _taps(short, int(3 * short + 0.5), True)
    _smooth(scratch, number, taps, line)
    for i in range(number):
        drow, dcol = _direction(line, number, i, 3)
        widths[i] = _profile(m, distance, width, height, line[i, 0], line[i, 1], drow, dcol, 0.5)[0]
    bend(line, span(number, (zone[0] if near[0] else 0.0, zone[1] if near[1] else 0.0), step[0]), bends[:number])
    if clear:
        for k in range(2):
            if near[k]:
                _join(line, number, step[0], zone[k], nodes[k], k)
    return number


@kernel
def _rooms(distance, width, nodes, pixels, starts, ends):  # type: ignore[no-untyped-def]
    """Return the radius at both ends of each piece `(S, 2)`, and the most points its line can have `(S,)`."""
    pieces = len(ends)
    reach, room = np.zeros((pieces, 2)), np.zeros(pieces, np.int64)
    for s in range(pieces):
        for k in range(2):
            if ends[s, k] >= 0:
                row, col = nodes[ends[s, k]]
                reach[s, k] = distance[int(row + 0.5) * width + int(col + 0.5)]
        # Steps to the next pixel are up to 1.4 long and may sway; those to a node that was joined are longer; a free end may grow by a width.
        length = 2.0 * (starts[s + 1] - starts[s]) + 3 * reach[s].max() + 12
        if starts[s + 1] > starts[s]:
            for k in range(2):
                if ends[s, k] >= 0:
                    p = pixels[starts[s]] if k == 0 else pixels[starts[s + 1] - 1]
                    length += np.hypot(nodes[ends[s, k], 0] - p // width, nodes[ends[s, k], 1] - p % width)
        elif ends[s, 0] >= 0 and ends[s, 1] >= 0:
            a, b = ends[s]
            length += np.hypot(nodes[a, 0] - nodes[b, 0], nodes[a, 1] - nodes[b, 1])
        room[s] = int(length)
    return reach, room


@kernel
def draw_lines(m, distance, width, traced):  # type: ignore[no-untyped-def]
    """Return centre lines of all pieces: points `(P, 2)`, widths `(P,)`, curvatures `(P,)`, `(S + 1,)` starts, `(S,)` steps, `(S, 2)` length that
    the branching takes at each end (0 at free ends).
    """
    nodes, arms, pixels, starts, ends = traced
    height = len(m) // width
    pieces = len(ends)
    reach, room = _rooms(distance, width, nodes, pixels, starts, ends)
    near = part(distance, width, traced)
    total = room.sum()
    points, widths, bends = np.empty((total, 2)), np.empty(total), np.empty(total)
    lines, steps = np.zeros(pieces + 1, np.int64), np.zeros(pieces)
    raw, scratch = np.empty((room.max() if pieces else 0, 2)), np.empty((room.max() if pieces else 0, 2))
    free = np.zeros(2, np.bool_)
    step = np.zeros(1)
    fine = (
        _taps(ROUGH_PX, int(3 * ROUGH_PX + 0.5), False),
        _taps(FINE_PX, int(3 * FINE_PX + 0.5), True),
    )
    n = 0
    for s in range(pieces):
        count = 0
        if ends[s, 0] >= 0:
            raw[0] = nodes[ends[s, 0]]
            count = 1
        for i in range(starts[s], starts[s + 1]):
            raw[count, 0], raw[count, 1] = pixels[i] // width, pixels[i] % width
            count += 1
        if ends[s, 1] >= 0:
            raw[count] = nodes[ends[s, 1]]
        else:
            raw[count] = raw[0]
        count += 1
        for k in range(2):
            free[k] = ends[s, k] >= 0 and arms[ends[s, k]] == 1
        n += _one(
            m,
            distance,
            width,
            height,
            raw,
            count,
            free,
            near[s],
            fine,
            room[s],
            points[n:],
            scratch,
            widths[n:],
            bends[n:],
            step,
            reach[s],
        )
        steps[s] = step[0]
        lines[s + 1] = n
        for k in range(2):
            if free[k]:
                reach[s, k] = 0.0
    return points[:n].copy(), widths[:n].copy(), bends[:n].copy(), lines, steps, reach


@kernel
def span(count, zone, step):  # type: ignore[no-untyped-def]
    """Return the first and one past the last of the points of a line that lie outside the branchings at its ends; the middle three where there are none."""
    first = int(zone[0] / step + 1) if zone[0] > 0 else 0
    last = count - int(zone[1] / step + 1) if zone[1] > 0 else count
    if last - first < 3:
        first = min(max(count // 2 - 1, 0), count - 1)
        last = min(first + 3, count)
    return first, last


@kernel
def average_widths(widths, lines, bounds, window):  # type: ignore[no-untyped-def]
    """Average widths along each line, leaving out what lies within reach of a branching, where there is more than that.

    Args:
        bounds: Reach of the branchings `(S, 2)` and distance of the points `(S,)`.

    Returns:
        The averages, and per piece the first and one past the last point that count.
    """
    reach, steps = bounds
    out = np.empty_like(widths)
    spans = np.zeros((len(lines) - 1, 2), np.int64)
    for s in range(len(lines) - 1):
        a, b = lines[s], lines[s + 1]
        first, last = span(b - a, (reach[s, 0], reach[s, 1]), steps[s])
        first, last = a + first, a + last
        spans[s, 0], spans[s, 1] = first, last
        total = 0.0
        low, high = first, first
        for i in range(first, last):
            while high < min(i + window + 1, last):
                total += widths[high]
                high += 1
            while low < i - window:
                total -= widths[low]
                low += 1
            out[i] = total / (high - low)
        for i in range(a, first):
            out[i] = out[first]
        for i in range(last, b):
            out[i] = out[last - 1]
    return out, spans
