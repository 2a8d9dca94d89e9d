"""`Stopwatch`: a resumed run has the time of all its parts, without what was done twice."""

import pytest

from segvit.engine.hooks import stopwatch
from segvit.engine.hooks.stopwatch import Stopwatch


@pytest.fixture
def clock(monkeypatch):
    """Seconds that tests set; the process has half of them on the CPU."""
    now = {"seconds": 100.0}
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: now["seconds"])
    monkeypatch.setattr(stopwatch.time, "process_time", lambda: now["seconds"] / 2)
    return now


def test_a_resumed_run_goes_on_from_the_time_of_its_checkpoint(clock):
    first = Stopwatch()
    clock["seconds"] += 7  # to build the trainer does not count
    first.before_train()
    clock["seconds"] += 60
    checkpoint = first.state_dict()
    clock["seconds"] += 30  # is done again after the interruption
    second = Stopwatch()
    second.load_state_dict(checkpoint)
    clock["seconds"] += 1000
    second.before_train()
    clock["seconds"] += 50
    assert (second.seconds, second.cpu_seconds) == (110.0, 55.0)
