"""Moments as they are stored."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from bty.units import utc_now


@given(st.integers(0, 4_102_444_800 * 10**9))
def test_a_moment_is_written_as_datetime_writes_it(nanoseconds: int) -> None:
    """Whatever second it is in, and with microseconds even where there are none."""
    with patch("bty.units.time.time_ns", return_value=nanoseconds):
        written = utc_now()
    moment = datetime.fromtimestamp(nanoseconds // 10**9, UTC) + timedelta(microseconds=nanoseconds // 1000 % 10**6)
    assert datetime.fromisoformat(written) == moment
    assert len(written) == len("2026-01-01T00:00:00.000000+00:00")
