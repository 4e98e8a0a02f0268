"""Pickles of clients are read as Python would, and nothing in one is ever run."""

import pickle
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from lerobot.async_inference.helpers import RemotePolicyConfig, TimedObservation

from lerobot_qwenvla.serving.wire.pickles import DTYPES, Array, Record, read_pickle
from tests.serving.hostile_payloads import executing, malformed

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner) | st.lists(inner, max_size=5).map(tuple),
    max_leaves=30,
)
protocols = st.sampled_from([3, 4, 5])


@given(plain, protocols)
def test_plain_values_come_back(value, protocol):
    assert read_pickle(pickle.dumps(value, protocol)) == value


@given(
    st_numpy.arrays(
        st.sampled_from(sorted(DTYPES)),
        st_numpy.array_shapes(min_dims=0, min_side=0, max_side=5),
        elements={"allow_nan": False},
    ),
    protocols,
    st.sampled_from(["C", "F"]),
    st.booleans(),
)
def test_arrays_come_back(array, protocol, order, is_readonly):
    array = np.asarray(array, order=order)
    array.flags.writeable = not is_readonly
    got = read_pickle(pickle.dumps(array, protocol)).array
    assert got.dtype == array.dtype and got.shape == array.shape and (got == array).all()


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("number", [np.float32(0.5), np.int64(-3), np.bool_(True), np.uint8(200)], ids=repr)
def test_numbers_of_numpy_become_numbers_of_python(number, protocol):
    assert read_pickle(pickle.dumps(number, protocol)) == number.item()


def test_names_of_old_numpy_are_known():
    pickled = pickle.dumps(np.arange(6, dtype=np.uint8).reshape(2, 3), 3).replace(b"numpy._core", b"numpy.core")
    assert (read_pickle(pickled).array == np.arange(6).reshape(2, 3)).all()


def test_repeated_values_are_shared():
    image = np.zeros((2, 2, 3), np.uint8)
    one, other = read_pickle(pickle.dumps([image, image]))
    assert isinstance(one, Array) and one is other


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_messages_become_records(protocol):
    seen = TimedObservation(1.5, 3, {"a": 1.0, "screen": np.ones((2, 2, 3), np.uint8), "task": "go"}, True)
    record = read_pickle(pickle.dumps(seen, protocol))
    assert isinstance(record, Record) and record.name == "TimedObservation"
    assert record.fields["timestep"] == 3 and record.fields["observation"]["screen"].array.shape == (2, 2, 3)
    record = read_pickle(pickle.dumps(RemotePolicyConfig("qwenvla", "served", {"a": {"shape": (1,)}}, 5), protocol))
    assert record.fields["lerobot_features"] == {"a": {"shape": (1,)}}


def test_nothing_is_executed(tmp_path):
    marker = tmp_path / "executed"
    for name, data in executing(marker):
        with pytest.raises(ValueError):
            pytest.fail(f"{name} was read as {read_pickle(data)}")
    assert not list(tmp_path.iterdir())


def test_an_executing_pickle_would_execute(tmp_path):
    """Or the test above would show nothing."""
    marker = tmp_path / "executed"
    [data] = [data for name, data in executing(marker) if name == "open in an observation, protocol 4"]
    pickle.loads(data)
    assert marker.exists()


# To a reader without frames and with a memo that is a dict, these are small and plain.
HARMLESS = {"itself in itself", "billion laughs", "protocol 255", "memo far away", "frame of 2^63 bytes"}


@pytest.mark.parametrize(("name", "data"), [pytest.param(*each, id=each[0]) for each in malformed()])
def test_the_malformed_is_refused(name, data):
    if name in HARMLESS:
        assert isinstance(read_pickle(data), list | tuple | int)
    else:
        with pytest.raises(ValueError):
            read_pickle(data)


@given(st.binary(max_size=300), st.integers(0, 299))
def test_a_damaged_message_is_read_or_refused(garbage, at):
    data = pickle.dumps(TimedObservation(1.5, 3, {"a": 1.0, "screen": np.ones((4, 4, 3), np.uint8), "task": "go"}))
    with suppress(ValueError):
        read_pickle(data[:at] + garbage + data[at + len(garbage) :])
