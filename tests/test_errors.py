"""`renamed_arguments`: replaces argument names in error messages by names that the user knows."""

import pytest

from segvit.errors import ArgumentError, UserError, renamed_arguments


def test_keys_replace_the_argument_and_backquoted_names():
    with pytest.raises(UserError) as error, renamed_arguments(mode="MODEL.MODE", kind="MODEL.KIND"):
        raise ArgumentError("mode", "'a' does not fit `kind` 'b'; `depth` is 3")
    assert str(error.value) == "MODEL.MODE 'a' does not fit MODEL.KIND 'b'; `depth` is 3"


def test_errors_about_other_arguments_pass_unchanged():
    with pytest.raises(ArgumentError, match=r"^depth 3 is too small$"), renamed_arguments(mode="MODEL.MODE"):
        raise ArgumentError("depth", "3 is too small")
