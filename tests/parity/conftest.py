"""`assert_parity` for the parity tests, and a summary of the largest errors."""

import pytest

TOLERANCE = 1e-5
WORST = pytest.StashKey[dict]()


@pytest.fixture
def assert_parity(request):
    """Compare with a recording by the relative maximum error, max |actual - expected| / max |expected|."""
    worst = request.config.stash.setdefault(WORST, {})

    def check(actual, expected, name):
        assert actual.shape == expected.shape, name
        error = ((actual - expected).abs().max() / expected.abs().max()).item()
        test = request.node.name
        worst[test] = max(worst.get(test, (0.0, "")), (error, name))
        assert error <= TOLERANCE, f"{name}: relative maximum error {error:.2e}"

    return check


def pytest_terminal_summary(terminalreporter, config):
    worst = config.stash.get(WORST, {})
    if worst:
        terminalreporter.section(f"worst relative maximum errors against the official release (gate {TOLERANCE:.0e})")
        for test, (error, name) in sorted(worst.items()):
            terminalreporter.write_line(f"{error:.1e}  {test}: {name}")
