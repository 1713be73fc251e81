"""The cache of pictures: whole after a kill, damage is a miss, capped by use, shared by writers."""

import os
import pickle
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

from fundusion.core.errors import InvalidInput
from fundusion.transforms.cache import PictureCache, cache_key


def key(i):
    return cache_key(f"content {i}", "prepare-test")


def picture(i, side=16):
    return np.random.default_rng(i).integers(0, 256, (side, side, 3), dtype=np.uint8)


def test_what_comes_out_is_what_went_in_also_in_another_process(tmp_path):
    cache = PictureCache(tmp_path)
    cache.put({key(i): picture(i, 8 + i) for i in range(9)})
    for found in (cache, PictureCache(tmp_path), pickle.loads(pickle.dumps(cache))):
        assert len(found) == 9
        for i in range(9):
            np.testing.assert_array_equal(found.get(key(i)), picture(i, 8 + i))
        assert found.get(key(99)) is None
        assert key(99) not in found


def test_a_key_names_content_preprocessing_and_plane():
    keys = {cache_key(*a) for a in [("a", "p"), ("b", "p"), ("a", "q"), ("a", "p", 1)]}
    assert len(keys) == 4


def test_what_is_returned_may_be_changed(tmp_path):
    cache = PictureCache(tmp_path)
    cache.put({key(0): picture(0)})
    cache.get(key(0))[:] = 0
    np.testing.assert_array_equal(cache.get(key(0)), picture(0))


def test_many_entries_are_found_through_the_sorted_table(tmp_path):
    cache = PictureCache(tmp_path)
    tiny = {cache_key(str(i), "t"): np.full((1, 1, 3), i % 251, np.uint8) for i in range(9000)}
    names = list(tiny)
    for start in range(0, 9000, 1500):
        cache.put({k: tiny[k] for k in names[start : start + 1500]})
    assert all(cache.get(k)[0, 0, 0] == i % 251 for i, k in enumerate(names))


@pytest.mark.parametrize("suffix", [".bin", ".idx", ".use"])
@pytest.mark.parametrize("cut", [1, 30, 100])
def test_a_torn_tail_is_ignored_and_written_over(tmp_path, suffix, cut):
    cache = PictureCache(tmp_path)
    for i in range(3):
        cache.put({key(i): picture(i)})
    path = next(cache.folder.glob(f"pack-*{suffix}"))
    content = path.read_bytes()
    path.write_bytes(content[: max(0, len(content) - cut)])
    torn = PictureCache(tmp_path)
    for i in range(3):
        found = torn.get(key(i))
        assert found is None or np.array_equal(found, picture(i))
    np.testing.assert_array_equal(torn.get(key(0)), picture(0))
    torn.put({key(i): picture(i) for i in range(5)})
    again = PictureCache(tmp_path)
    for i in range(5):
        np.testing.assert_array_equal(again.get(key(i)), picture(i))


def test_a_flipped_bit_is_a_miss_and_is_replaced(tmp_path):
    cache = PictureCache(tmp_path)
    cache.put({key(i): picture(i) for i in range(3)})
    path = next(cache.folder.glob("pack-*.bin"))
    content = bytearray(path.read_bytes())
    content[16 * 16 * 3 + 5] ^= 4
    path.write_bytes(bytes(content))
    found = PictureCache(tmp_path)
    assert found.get(key(1)) is None
    np.testing.assert_array_equal(found.get(key(0)), picture(0))
    found.put({key(1): picture(1)})
    for reader in (found, PictureCache(tmp_path)):
        np.testing.assert_array_equal(reader.get(key(1)), picture(1))


def test_least_recently_used_pictures_are_given_up(tmp_path):
    size = picture(0).nbytes
    cache = PictureCache(tmp_path, max_bytes=20 * size)
    for i in range(16):
        cache.put({key(i): picture(i)})
    time.sleep(0.02)
    used = (0, 3, 7)
    assert all(cache.get(key(i)) is not None for i in used)
    time.sleep(0.02)
    for i in range(16, 30):
        cache.put({key(i): picture(i)})
    assert cache.bytes_held() <= 20 * size
    for reader in (cache, PictureCache(tmp_path, max_bytes=20 * size)):
        for i in used:
            np.testing.assert_array_equal(reader.get(key(i)), picture(i))
        np.testing.assert_array_equal(reader.get(key(29)), picture(29))
        assert reader.get(key(1)) is None


def test_a_reader_survives_that_another_process_gave_pictures_up(tmp_path):
    size = picture(0).nbytes
    reader = PictureCache(tmp_path)
    reader.put({key(i): picture(i) for i in range(8)})
    writer = PictureCache(tmp_path, max_bytes=4 * size)
    writer.put({key(i): picture(i) for i in range(20, 30)})
    for i in range(8):
        found = reader.get(key(i))
        assert found is None or np.array_equal(found, picture(i))
    reader.put({key(50): picture(50)})
    np.testing.assert_array_equal(reader.get(key(50)), picture(50))


def _write(arguments):
    folder, first = arguments
    cache = PictureCache(folder)
    for i in range(first, first + 40):
        cache.put({key(i): picture(i)})
    return all(np.array_equal(cache.get(key(i)), picture(i)) for i in range(first, first + 40))


def test_writers_at_the_same_time_lose_nothing(tmp_path):
    with ProcessPoolExecutor(3, mp_context=get_context("spawn")) as pool:
        # Their ranges overlap, so the same picture is also written by two.
        assert all(pool.map(_write, [(tmp_path, 0), (tmp_path, 20), (tmp_path, 60)]))
    cache = PictureCache(tmp_path)
    assert len(cache) == 100
    for i in range(100):
        np.testing.assert_array_equal(cache.get(key(i)), picture(i))


WRITER = """
import sys, numpy as np
from fundusion.transforms.cache import PictureCache, cache_key
cache = PictureCache(sys.argv[1], max_bytes=int(sys.argv[2]))
print("ready", flush=True)
for i in range(100000):
    cache.put({cache_key(f"content {i}", "prepare-test"): np.random.default_rng(i).integers(0, 256, (16, 16, 3), dtype=np.uint8)})
"""


@pytest.mark.parametrize("delay", [0.0, 0.013, 0.05, 0.11, 0.2])
def test_a_kill_at_any_time_leaves_whole_pictures(tmp_path, delay):
    # The cap is small, so that kills also fall into giving up and writing anew.
    done = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path), str(40 * 768)], stdout=subprocess.PIPE, env=dict(os.environ)
    )
    assert done.stdout.readline() == b"ready\n"
    time.sleep(delay)
    done.send_signal(signal.SIGKILL)
    done.wait()
    done.stdout.close()
    cache = PictureCache(tmp_path, max_bytes=40 * 768)
    for i in range(3000):
        found = cache.get(key(i))
        assert found is None or np.array_equal(found, picture(i))
    cache.put({key(i): picture(i) for i in range(10)})
    again = PictureCache(tmp_path)
    for i in range(10):
        np.testing.assert_array_equal(again.get(key(i)), picture(i))


def test_what_is_no_picture_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="expected uint8"):
        PictureCache(tmp_path).put({key(0): np.zeros((4, 4, 3))})
    with pytest.raises(InvalidInput, match="positive"):
        PictureCache(tmp_path, max_bytes=0)


def test_a_full_volume_is_named(tmp_path, monkeypatch):
    import errno

    from fundusion.core.errors import ExhaustedResource

    cache = PictureCache(tmp_path)
    cache.put({key(0): picture(0)})

    def full(*_):
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(cache, "_append", full)
    with pytest.raises(ExhaustedResource) as caught:
        cache.put({key(1): picture(1)})
    assert caught.value.code == "disk.full"
    np.testing.assert_array_equal(cache.get(key(0)), picture(0))
