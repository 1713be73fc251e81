"""Figures whose measures are known, drawn by distance so that the truth is exact."""

import itertools

import numpy as np


def tube(points, width, shape=(400, 400)):
    """Return the mask of a disc of a width that is swept along a polyline of (row, col)."""
    inside = np.zeros(shape, bool)
    path, half = np.asarray(points, float), width / 2
    for (r0, c0), (r1, c1) in itertools.pairwise(path):
        top, left = (max(0, int(min(a, b) - half) - 1) for a, b in ((r0, r1), (c0, c1)))
        bottom, right = (int(max(a, b) + half) + 3 for a, b in ((r0, r1), (c0, c1)))
        part = inside[top:bottom, left:right]
        rows, cols = np.mgrid[top : top + part.shape[0], left : left + part.shape[1]].astype(float)
        length = (r1 - r0) ** 2 + (c1 - c0) ** 2
        t = np.clip(((rows - r0) * (r1 - r0) + (cols - c0) * (c1 - c0)) / max(length, 1e-12), 0, 1)
        part |= (rows - r0 - t * (r1 - r0)) ** 2 + (cols - c0 - t * (c1 - c0)) ** 2 <= half**2
    return inside


def line(angle_deg, width, length=240.0, center=(200.3, 199.6), shape=(400, 400)):
    """Return a straight tube at an angle."""
    half = np.array([np.sin(np.radians(angle_deg)), np.cos(np.radians(angle_deg))]) * length / 2
    return tube([np.array(center) - half, np.array(center) + half], width, shape)


def semicircle(radius, width, shape=(400, 400)):
    """Return a tube along half a circle."""
    t = np.linspace(0, np.pi, 120)
    return tube(np.stack([200.2 - radius * np.sin(t), 200.3 + radius * np.cos(t)], -1), width, shape)


def wave(amplitude, period, width, shape=(400, 400)):
    """Return a tube along a sinusoid, and the length of its arc."""
    x = np.linspace(20, 20 + period * (360 // period), 400)
    path = np.stack([200 + amplitude * np.sin(2 * np.pi * (x - 20) / period), x], -1)
    return tube(path, width, shape), float(np.hypot(*np.diff(path, axis=0).T).sum())


def fork(angle_deg, widths=(8.0, 6.0, 6.0), turn_deg=0.0, shape=(400, 400)):
    """Return a Y: one arm in, two out with an angle between them."""
    middle = np.array([200.3, 199.7])
    mask = np.zeros(shape, bool)
    for way, width in zip((180.0, angle_deg / 2, -angle_deg / 2), widths, strict=True):
        a = np.radians(way + turn_deg)
        mask |= tube([middle, middle + 140 * np.array([-np.sin(a), np.cos(a)])], width, shape)
    return mask


def carpet(levels=6):
    """Return the Sierpinski carpet of a number of levels."""
    figure = np.ones((1, 1), bool)
    for _ in range(levels):
        whole, hole = figure, np.zeros_like(figure)
        figure = np.block([[whole, whole, whole], [whole, hole, whole], [whole, whole, whole]])
    return figure


EIGHT = [(k, flip) for k in range(4) for flip in (False, True)]


def turned(mask, k, flip):
    """Return a mask turned by k right angles and, perhaps, mirrored."""
    return np.ascontiguousarray(np.rot90(mask[:, ::-1] if flip else mask, k))
