import numpy as np
import pytest

from fundusion.core.errors import InvalidInput
from fundusion.retrieval.vectors import HeldVectors, VectorFile


@pytest.fixture
def rows(generator):
    return generator.standard_normal((50, 8)).astype(np.float32)


def test_a_file_gives_what_was_written_by_block_and_by_row(rows, tmp_path):
    (tmp_path / "v").write_bytes(rows.tobytes())
    places = np.array([0, 1, 2, 7, 9, 48, 49])
    for given, expected in ((None, rows), (places, rows[places])):
        vectors = VectorFile(tmp_path / "v", dim=8, places=given)
        assert vectors.count == len(expected)
        blocks = list(vectors.blocks(3))
        assert [start for start, _ in blocks] == list(range(0, len(expected), 3))
        assert np.array_equal(np.concatenate([b for _, b in blocks]), expected)
        assert np.array_equal(vectors.gather(np.array([5, 0, 5])), expected[[5, 0, 5]])
        vectors.close()


def test_a_file_that_was_cut_is_refused_at_once_or_when_it_is_read(rows, tmp_path):
    (tmp_path / "v").write_bytes(rows.tobytes()[:-1])
    with pytest.raises(InvalidInput, match="holds 49 vectors, 50 are needed"):
        VectorFile(tmp_path / "v", dim=8, places=np.arange(50))
    vectors = VectorFile(tmp_path / "v", dim=8)
    (tmp_path / "v").write_bytes(b"")
    with pytest.raises(InvalidInput, match="was cut"):
        vectors.gather(np.array([3]))
    vectors.close()


def test_a_file_that_was_replaced_is_read_on(rows, tmp_path):
    (tmp_path / "v").write_bytes(rows.tobytes())
    vectors = VectorFile(tmp_path / "v", dim=8)
    (tmp_path / "v").unlink()
    assert np.array_equal(vectors.gather(np.array([4])), rows[[4]])
    vectors.close()


def test_vectors_in_memory_behave_alike(rows):
    held = HeldVectors(rows)
    assert (held.count, held.dim) == (50, 8)
    assert np.array_equal(np.concatenate([b for _, b in held.blocks(7)]), rows)
