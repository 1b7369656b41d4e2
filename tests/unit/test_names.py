"""Names of scenarios fit into the names of files."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_certload.errors import ConfigurationError
from pytest_certload.names import LONGEST, check_scenario_name, name_of_test


@given(st.text(max_size=400))
def test_every_test_has_a_name(test: str) -> None:
    check_scenario_name(name_of_test(test))


def test_a_name_says_what_the_test_is_called() -> None:
    assert name_of_test("test_agent_storm[5-a]") == "agent-storm-5-a"
    assert name_of_test("test_storm[.5]") == "storm-.5"
    assert name_of_test("test_[.5]") == "5"


def test_long_names_that_begin_alike_stay_apart() -> None:
    one, other = (name_of_test(f"test_shop[{'a' * 300}{end}]") for end in "xy")
    assert one != other
    assert len(one) == len(other) == LONGEST


@pytest.mark.parametrize("name", ["", "a b", ".hidden", "a/b", "ä", "a" * (LONGEST + 1)])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(ConfigurationError, match="is no scenario name; use letters"):
        check_scenario_name(name)
