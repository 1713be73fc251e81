"""A hang, a crash or a memory bomb costs one item. The functions are of the standard library, so that workers find them."""

import os
import time

import pytest

from fundusion.batch.workers import prepare_all
from fundusion.core.errors import FundusionError


def codes(results):
    return [r.code if isinstance(r, FundusionError) else r for r in results]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_results_come_in_order_and_errors_in_place(workers):
    items = [str(i) for i in range(12)]
    items[5] = "five"
    results = codes(prepare_all(items, int, workers=workers, ahead=4))
    assert results == [0, 1, 2, 3, 4, "internal", 6, 7, 8, 9, 10, 11]


def test_a_hang_is_killed_and_the_rest_goes_on():
    began = time.monotonic()
    results = codes(prepare_all([0.0, 60.0, 0.0, 0.0], time.sleep, workers=1, timeout_s=1.0))
    assert results == [None, "worker.timeout", None, None]
    assert time.monotonic() - began < 20


def test_a_crash_is_tried_once_more_and_then_recorded():
    assert codes(prepare_all([3, 4], os._exit, workers=1)) == ["worker.died", "worker.died"]


def test_a_memory_bomb_is_one_rejected_item():
    results = codes(prepare_all([8, 1 << 42, 8], bytes, workers=1, memory_bytes=2 << 30))
    assert results == [bytes(8), "worker.memory", bytes(8)]


def test_items_are_taken_only_so_far_ahead():
    taken = []

    def items():
        for i in range(50):
            taken.append(i)
            yield str(i)

    stream = prepare_all(items(), int, workers=2, ahead=6)
    assert next(stream) == 0
    assert len(taken) <= 8
    stream.close()
