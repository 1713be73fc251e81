"""Blocks on disk: whole after a kill, found by content and purpose, shared by two writers."""

import numpy as np
import pytest

from fundusion.core.errors import InvalidInput
from fundusion.train.store import BlockStore


def store(folder, purpose="p"):
    return BlockStore(folder, purpose=purpose, shape=(4,), dtype=np.float32)


def block(value):
    return np.full(4, value, np.float32)


def test_round_trip_and_order_of_keys(tmp_path):
    one = store(tmp_path)
    one.put({"a": block(1), "b": block(2)})
    one.put({"b": block(9), "c": block(3)})
    again = store(tmp_path)
    assert len(again) == 3
    np.testing.assert_array_equal(again.get(["c", "a", "b"])[:, 0], [3, 1, 2])
    assert "d" not in again
    with pytest.raises(InvalidInput) as caught:
        again.get(["d"])
    assert caught.value.code == "cache.miss"


def test_another_preprocessing_or_model_is_another_store(tmp_path):
    store(tmp_path).put({"a": block(1)})
    assert "a" not in store(tmp_path, purpose="other")


@pytest.mark.parametrize("kept", [1, 17, 35])
def test_a_key_half_written_is_forgotten_and_room_is_used_again(tmp_path, kept):
    one = store(tmp_path)
    one.put({"a": block(1)})
    one.put({"b": block(2)})
    index = one.folder / "index.bin"
    index.write_bytes(index.read_bytes()[: 36 + kept])
    torn = store(tmp_path)
    assert len(torn) == 1
    torn.put({"c": block(3)})
    np.testing.assert_array_equal(store(tmp_path).get(["a", "c"])[:, 0], [1, 3])


def test_a_block_half_written_has_no_key(tmp_path):
    one = store(tmp_path)
    one.put({"a": block(1), "b": block(2)})
    data = one.folder / "data.bin"
    data.write_bytes(data.read_bytes()[:20])
    torn = store(tmp_path)
    assert len(torn) == 1
    assert torn.get(["a"])[0, 0] == 1


def test_a_flipped_bit_is_found(tmp_path):
    one = store(tmp_path)
    one.put({"a": block(1)})
    data = one.folder / "data.bin"
    content = bytearray(data.read_bytes())
    content[5] ^= 1
    data.write_bytes(bytes(content))
    with pytest.raises(InvalidInput) as caught:
        store(tmp_path).get(["a"])
    assert caught.value.code == "cache.damaged"


def test_two_writers_do_not_overwrite_each_other(tmp_path):
    one, two = store(tmp_path), store(tmp_path)
    one.put({"a": block(1)})
    two.put({"b": block(2)})
    one.put({"c": block(3), "b": block(7)})
    np.testing.assert_array_equal(store(tmp_path).get(["a", "b", "c"])[:, 0], [1, 2, 3])
    np.testing.assert_array_equal(two.get(["a", "b"])[:, 0], [1, 2])


def test_a_block_of_another_shape_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="shape"):
        store(tmp_path).put({"a": np.zeros(5, np.float32)})
