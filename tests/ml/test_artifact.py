import numpy as np
import pytest

from lodestream.ml import artifact

ARRAYS = {
    "b": np.arange(6, dtype=np.float16).reshape(2, 3),
    "a": np.zeros((0, 4), np.int8),
}


def test_what_was_put_in_comes_out():
    manifest, arrays = artifact.load(artifact.dump({"labels": ["Größe > 😀"], "n": 1.5}, ARRAYS))
    assert manifest == {"labels": ["Größe > 😀"], "n": 1.5}
    assert arrays.keys() == ARRAYS.keys()
    for name, array in arrays.items():
        assert array.dtype == ARRAYS[name].dtype
        np.testing.assert_array_equal(array, ARRAYS[name])


def test_the_order_of_keys_does_not_change_the_bytes():
    one = artifact.dump({"x": 1, "y": {"a": 1, "b": 2}}, ARRAYS)
    other = artifact.dump({"y": {"b": 2, "a": 1}, "x": 1}, dict(reversed(ARRAYS.items())))
    assert one == other


def test_a_view_with_other_strides_is_stored_as_its_values():
    array = np.arange(12, dtype=np.float32).reshape(3, 4).T[::2]
    np.testing.assert_array_equal(artifact.load(artifact.dump({}, {"a": array}))[1]["a"], array)


@pytest.mark.parametrize("damage", [b"", b"\x00" * 8, b"PK\x03\x04 not a model", b"\xff" * 40])
def test_other_bytes_are_refused(damage):
    with pytest.raises(artifact.NotAnArtifact):
        artifact.load(damage)


def test_a_file_cut_short_is_refused():
    whole = artifact.dump({}, ARRAYS)
    for length in range(0, len(whole), 7):
        with pytest.raises(artifact.NotAnArtifact):
            artifact.load(whole[:length])


def test_nan_in_the_manifest_is_refused():
    with pytest.raises(ValueError, match="JSON"):
        artifact.dump({"loss": float("nan")}, {})
