"""Percentiles, rates and the ledger's sums."""

import os

import numpy as np
import pytest

from pipeline.timing import DropCause, Histogram, Ledger, fps


@pytest.fixture
def ledger():
    """The ledger of a corridor of two stages."""
    ledger = Ledger.create(("capture", "segment"))
    yield ledger
    ledger.close()


def test_percentiles_are_within_half_a_percent() -> None:
    """Bins are 0.5 % wide, so every percentile is that near to the exact one."""
    times_ns = np.random.default_rng(0).lognormal(16, 1, 20_000).astype(int)
    histogram = Histogram()
    for time_ns in times_ns:
        histogram.record(int(time_ns))

    for share in (0.5, 0.95, 0.99):
        exact_ms = np.quantile(times_ns, share, method="inverted_cdf") * 1e-6
        assert histogram.percentile_ms(share) == pytest.approx(exact_ms, rel=0.006)
    assert histogram.summary_ms()["max"] == pytest.approx(times_ns.max() * 1e-6, abs=1e-3)


def test_an_empty_histogram_says_zero() -> None:
    """Nothing was measured: no percentile is made up, and nothing divides by zero."""
    assert Histogram().summary_ms() == {"p50": 0.0, "p95": 0.0, "p99": 0.0, "max": 0.0}


def test_a_rate_counts_intervals_not_stamps() -> None:
    """31 time stamps 33.3 ms apart are 30 fps, not 31."""
    assert fps(31, 0, 1_000_000_000) == pytest.approx(30.0)
    assert fps(1, 5, 5) == 0.0


def test_captured_is_shown_plus_dropped(ledger) -> None:
    """What no cause explains was with a worker that died, and is called lost."""
    for _ in range(10):
        ledger.count_captured()
    for sequence in range(6):
        ledger.count_shown(sequence, 1000 + sequence)
    ledger.count_dropped(0, DropCause.SUPERSEDED, 2)
    ledger.count_dropped(1, DropCause.LATE)

    told = ledger.final_dropped()

    assert told == {"superseded": 2, "late": 1, "lost": 1}
    assert ledger.captured == ledger.shown + sum(told.values())


def test_counts_survive_the_worker_that_made_them(ledger) -> None:
    """A second process that attaches goes on counting where the first stopped."""
    ledger.count_captured()
    other = Ledger.attach(os.dup(ledger.region.fd), ledger.stages)

    assert other.count_captured() == 1
    assert ledger.captured == 2
    other.close()


def test_a_diary_becomes_wait_and_work(ledger) -> None:
    """Wait runs from the end of the stage before, work from enter to leave."""
    ms = 1_000_000
    ledger.record_diary(0, [1 * ms, 3 * ms, 7 * ms, 20 * ms])

    assert ledger.wait["capture"].summary_ms()["max"] == 1.0
    assert ledger.work["capture"].summary_ms()["max"] == 2.0
    assert ledger.wait["segment"].summary_ms()["max"] == 4.0
    assert ledger.work["segment"].summary_ms()["max"] == 13.0
