"""Nothing that somebody else wrote does more than be read or be refused: spoilt inputs of every reader, by chance."""

import resource

import pytest
from fuzzing import MOST_BYTES, READERS, try_one
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

EXAMPLES, LONG = 15, 100


def _try_many(name, folder, count):
    # A page takes a second.
    count = max(1, count // 15) if name.startswith("pages of") else count

    @settings(
        max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(seed=st.randoms(use_true_random=False))
    def one(seed):
        try_one(READERS[name], seed, folder / "all")

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    one()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 2**10
    assert grown < MOST_BYTES


@pytest.mark.parametrize("name", READERS)
def test_a_spoilt_input_is_read_or_refused(name, tmp_path):
    _try_many(name, tmp_path, EXAMPLES)


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_many_spoilt_inputs_are_read_or_refused(name, tmp_path):
    _try_many(name, tmp_path, LONG)
