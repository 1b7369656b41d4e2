"""What the documentation shows is what happens: its examples run, its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Target

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("**/*.md"), ROOT / "seed" / "README.md"])


def example(page: Path, name: str) -> str:
    text = page.read_text("utf-8")
    match = re.search(rf"<!-- example: {name} -->\n```python\n(.*?)```", text, re.DOTALL)
    assert match is not None, f"{page.name} has no example {name}"
    return match[1]


def on_any_machine(source: str) -> str:
    """The same where answers may take long: the limits of an example are those of a machine of its own."""
    wider = re.sub(r"\bms\(200\)", "ms(25_000)", source)
    wider = re.sub(r"(p\(95\)|med)<\d+", r"\1<25000", wider)
    assert wider != source
    return wider


@pytest.mark.parametrize("page", ["README.md", "docs/writing-load-tests.md"])
def test_the_ten_line_test_runs(pytester: pytest.Pytester, target: Target, page: str) -> None:
    source = example(ROOT / page, "shop")
    assert "http://127.0.0.1:9090" in source
    pytester.makepyfile(
        test_shop=on_any_machine(source.replace("http://127.0.0.1:9090", target.base_url))
    )
    result = pytester.runpytest("-m", "scale", "test_shop.py", "--certload-duration=0.5s")
    result.assert_outcomes(passed=1)
    assert target.seen == ["/basket"] * 25


def test_the_check_before_a_load_runs(pytester: pytest.Pytester, target: Target) -> None:
    source = on_any_machine(example(ROOT / "docs" / "writing-load-tests.md", "preflight"))
    source = source.replace("http://127.0.0.1:9090", target.base_url)
    pytester.makepyfile(
        test_shop=source, test_bare=source.replace('get("/stock")', 'get("/status/503")')
    )
    result = pytester.runpytest("-m", "scale", "--certload-duration=0.5s")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["E     stock: /stock answers 503: fill it with bin/fill-stock"])
    assert target.seen == ["/status/503", "/stock", *["/basket"] * 25]


def test_the_thresholds_are_held(pytester: pytest.Pytester, target: Target) -> None:
    source = on_any_machine(example(ROOT / "docs" / "writing-load-tests.md", "thresholds"))
    source = source.replace("http://127.0.0.1:9090", target.base_url)
    pytester.makepyfile(test_shop=source)
    result = pytester.runpytest("-m", "scale", "--certload-duration=0.5s")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["threshold missed: finished = 25, wanted > 100 *"])
    assert sorted(target.seen) == sorted(["/basket", "/pay"] * 25)


def test_the_readme_and_the_guide_show_the_same_example() -> None:
    assert example(ROOT / "README.md", "shop") == example(
        ROOT / "docs" / "writing-load-tests.md", "shop"
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_options_that_are_named_exist(page: Path) -> None:
    from pytest_certload.options import OPTIONS

    known = {option.long for option in OPTIONS}
    for name in re.findall(r"--certload-[a-z-]+", page.read_text("utf-8")):
        assert name in known
