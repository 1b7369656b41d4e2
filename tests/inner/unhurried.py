"""A plugin for inner sessions whose loads measure nothing: that the machine held the generator up is no matter.

What a test brings about on purpose stays: iterations that wait for a slot, that are dropped, or none at all.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any

import pytest


# Last, so that nearest to the test: what the plugin under test raises does not pass through here.
@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Have each load judged as if the generator had always had its turn."""
    if item.get_closest_marker("scale") is None:
        return (yield)
    # Not before: sessions without load are to import nothing heavy, and tests look at that.
    import pytest_certload.session as session
    from pytest_certload.units import seconds
    from pytest_certload.verdict import diagnosis

    # A test may have put something of its own here.
    judge: Any = vars(session)["diagnose"]

    def unhurried(report: Any, **options: Any) -> Any:
        # With one slot iterations wait on purpose; with several they came in a bunch.
        if not report.backlog_peak or report.in_flight_peak > 1:
            report = replace(report, started_in_window=report.started)
        return judge(replace(report, generator=None), **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "diagnose", unhurried)
        patch.setattr(diagnosis, "_SOME_LAG", seconds(600))
        return (yield)
