"""`time_rounds`, which interleaves the timed calls, and `summarize`."""

import pytest

from segvit.analysis import spread_text, summarize, time_rounds


def test_rounds_are_interleaved_and_warmup_is_not_timed():
    order_of_calls = []
    calls = {name: lambda name=name: order_of_calls.append(name) for name in "abc"}
    seconds = time_rounds(calls, rounds=5, warmup=2)
    assert list(seconds) == ["a", "b", "c"]
    assert {len(values) for values in seconds.values()} == {5}
    rounds = [order_of_calls[i : i + 3] for i in range(0, len(order_of_calls), 3)]
    assert len(rounds) == 7
    assert all(sorted(order) == ["a", "b", "c"] for order in rounds)
    assert len({tuple(order) for order in rounds}) > 1


def test_the_clock_is_read_before_and_after_each_call():
    now, spent = [0.0], iter([1.0, 2.0, 4.0])

    def call():
        now[0] += next(spent)

    seconds = time_rounds({"a": call}, rounds=2, clock=lambda: now[0])
    assert seconds == {"a": [2.0, 4.0]}


def test_a_summary_has_median_spread_and_ratio_to_the_first():
    result = summarize({"floor": [0.1, 0.1, 0.1], "model": [0.1, 0.2, 0.3]})
    assert result["floor"] == {"median_ms": 100.0, "spread": 0.0, "ratio": 1.0}
    assert result["model"] == pytest.approx({"median_ms": 200.0, "spread": 0.5, "ratio": 2.0})


def test_two_rounds_have_no_spread():
    """It would be a figure that means nothing; three have one."""
    assert summarize({"model": [0.2]})["model"] == {"median_ms": 200.0, "spread": None, "ratio": 1.0}
    two, three = (summarize({"model": [0.2, 0.3, 0.4][:count]})["model"] for count in (2, 3))
    assert spread_text(two) == "-" and spread_text(three) == "33%"


@pytest.mark.parametrize(("calls", "rounds"), [({}, 1), ({"a": lambda: None}, 0)])
def test_zero_calls_or_rounds_are_refused(calls, rounds):
    with pytest.raises(ValueError, match="at least one call and one round"):
        time_rounds(calls, rounds=rounds)
