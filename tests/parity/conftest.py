"""The gate of the parity tests, and a summary of how close they came to it."""

import pytest

TOLERANCE = 1e-5
WORST = pytest.StashKey[dict]()


@pytest.fixture
def assert_parity(request):
    """Compare with a recording by the relative maximum error, max |ours - theirs| / max |theirs|."""
    worst = request.config.stash.setdefault(WORST, {})

    def check(ours, theirs, what):
        assert ours.shape == theirs.shape, what
        error = ((ours - theirs).abs().max() / theirs.abs().max()).item()
        test = request.node.name
        worst[test] = max(worst.get(test, (0.0, "")), (error, what))
        assert error <= TOLERANCE, f"{what}: relative maximum error {error:.2e}"

    return check


def pytest_terminal_summary(terminalreporter, config):
    worst = config.stash.get(WORST, {})
    if worst:
        terminalreporter.section(f"worst relative maximum errors against the official release (gate {TOLERANCE:.0e})")
        for test, (error, what) in sorted(worst.items()):
            terminalreporter.write_line(f"{error:.1e}  {test}: {what}")
