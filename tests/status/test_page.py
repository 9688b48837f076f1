"""The page for people, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spiped import __version__
from spiped.observe.slot import Field
from tests.daemons import free_port, wait_until
from tests.status.browser import Browser, Page, browser
from tests.status.example import ENDED
from tests.status.rig import Status, ask, serving

pytestmark = pytest.mark.acceptance  # which has a browser

ROWS = "[...document.querySelectorAll('#connections tbody tr')]"
CELLS = ROWS + ".map(row => row.cells[{}].textContent)"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as driven:
        yield driven


@pytest.fixture(scope="module")
def page(chromium: Browser, status: Status) -> Page:
    """The page over the example, with the first answers in it."""
    return opened(chromium, status)


def opened(chromium: Browser, status: Status) -> Page:
    page = chromium.page()
    page.open(f"{status.url}/")
    page.wait(f"{ROWS}.length > 0 && document.querySelector('#workers tbody tr') !== null")
    return page


def text(page: Page, selector: str) -> Any:
    return page.value(f"document.querySelector('{selector}').textContent")


def click(page: Page, selector: str) -> None:
    page.value(f"document.querySelector('{selector}').click()")


def type_into(page: Page, selector: str, words: str) -> None:
    page.value(
        f"(() => {{ const field = document.querySelector('{selector}'); field.value = {words!r};"
        " field.dispatchEvent(new Event('input')); })()"
    )


def test_the_document_needs_nothing_from_elsewhere(status: Status) -> None:
    answer = ask(status.tcp, "/")
    assert not re.findall(r"https?://(?!www\.w3\.org/)", answer.text)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert "unsafe" not in policy


def test_it_shows_the_daemon_and_its_state(page: Page) -> None:
    assert text(page, "#name") == "mail"
    assert text(page, "#state") == "serving"
    assert text(page, "#active") == "240"
    assert f"version {__version__}" in text(page, "#about")
    assert text(page, "#targets tbody").count("mail.internal:25") == 1
    assert "wrong key" in text(page, "#causes tbody")


def test_it_draws_throughput_and_connections_live(page: Page) -> None:
    for chart in ("throughput", "load"):
        for line in ("first", "second"):
            path = f"document.querySelector('#{chart} path.{line}').getAttribute('d')"
            before = page.wait(f"{path}.includes('L') && {path}")
            page.wait(f"{path} !== {before!r}")
    page.wait("/[1-9].*B.s/.test(document.querySelector('#opened').textContent)")
    page.wait("/opened .*[1-9].*B/.test(document.querySelector('#throughput-legend').textContent)")


def test_it_asks_for_a_hundred_and_for_all_only_on_demand(
    chromium: Browser, status: Status
) -> None:
    page = opened(chromium, status)
    asked = [url for url in page.requests if "/connections" in url]
    assert asked
    assert all("limit=100" in url for url in asked)
    assert page.value(f"{ROWS}.length") == 100
    assert text(page, "#connections-note") == "100 of 240"
    click(page, "#all")
    page.wait(f"{ROWS}.length === 240")
    assert page.value("document.querySelector('#live').hidden") is False
    click(page, "#live")
    page.wait(f"{ROWS}.length === 100")


def test_the_list_is_sorted_by_a_click(page: Page) -> None:
    for field, column in (("peer", 1), ("state", 3)):
        click(page, f"#connections th[data-field={field}] button")
        page.wait(
            f"{ROWS}.length && String({CELLS.format(column)}.sort()) === "
            f"String({CELLS.format(column)})"
        )
        assert (
            page.value(f"document.querySelector('#connections th[data-field={field}]').ariaSort")
            == "ascending"
        )
        first = CELLS.format(column) + "[0]"
        before = page.value(first)
        click(page, f"#connections th[data-field={field}] button")
        page.wait(f"{first} > {before!r}")


def test_the_other_tables_are_sorted_by_a_click(page: Page) -> None:
    counts = (
        "[...document.querySelectorAll('#causes tbody tr')]"
        ".map(row => Number(row.cells[1].textContent.replaceAll(',', '')))"
    )
    values = page.value(counts)
    assert values == sorted(values, reverse=True)
    click(page, "#causes th[data-field=count] button")
    values = page.value(counts)
    assert values == sorted(values)
    assert len(values) == len(ENDED)


def test_only_connections_that_failed_count_as_failed(page: Page) -> None:
    no_failures = {Field.ENDED_CLEAN, Field.ENDED_LEFT, Field.ENDED_ABORTED, Field.ENDED_KILLED}
    failed = sum(count for field, count in ENDED.items() if field not in no_failures)
    assert text(page, "#failed") == f"{failed:,}"


def test_a_filter_leaves_the_rows_that_have_all_words(page: Page) -> None:
    type_into(page, "#connections-filter", "203.0.113 RELAYING")
    rows = page.value(f"{ROWS}.map(row => row.textContent)")
    assert 0 < len(rows) < 100
    assert all("203.0.113." in row and "relaying" in row for row in rows)
    assert text(page, "#connections-note").startswith(f"{len(rows)} match, of 100 of 240")
    type_into(page, "#connections-filter", "nobody has this")
    assert page.value(f"{ROWS}.length") == 0
    type_into(page, "#connections-filter", "")
    assert page.value(f"{ROWS}.length") == 100


def test_it_has_a_light_and_a_dark_side(page: Page) -> None:
    def brightness() -> float:
        colour = page.value("getComputedStyle(document.body).backgroundColor")
        return sum(map(int, re.findall(r"\d+", colour)))

    page.style("light")
    light = brightness()
    page.style("dark")
    assert brightness() < 200 < 600 < light
    page.style("light")


def test_hostile_names_are_text(chromium: Browser, tmp_path: Path) -> None:
    with serving(f"[127.0.0.1]:{free_port()}", hostile=True) as status:
        page = opened(chromium, status)
        assert text(page, "#name").startswith("<img src=x")
        assert page.value("document.querySelector('img')") is None
        assert page.value("document.scripts.length") == 1
        assert "owned" not in page.value("document.title").split("'")[0]


def test_the_policy_lets_nothing_else_run(chromium: Browser, status: Status) -> None:
    page = opened(chromium, status)
    page.value(
        "(() => { const script = document.createElement('script');"
        " script.textContent = 'window.owned = true'; document.body.append(script); })()"
    )
    assert page.value("window.owned") is None
    assert page.value("fetch('http://127.0.0.1:1/').then(() => 'sent', () => 'kept')") == "kept"


def test_a_daemon_that_does_not_answer_is_said_to(chromium: Browser) -> None:
    with serving(f"[127.0.0.1]:{free_port()}", connections=5) as status:
        page = opened(chromium, status)
        status.end()
        page.wait("document.querySelector('#state').textContent === 'no answer'")
        assert "What is shown is old" in text(page, "#trouble")
    with serving(status.tcp, connections=6):
        page.wait("document.querySelector('#state').textContent === 'serving'")
        page.wait("document.querySelector('#trouble').hidden")


def test_states_and_mistakes_are_shown(chromium: Browser) -> None:
    with serving(f"[127.0.0.1]:{free_port()}", connections=5, hidden=9) as status:
        page = opened(chromium, status)
        status.order('say {"state": "draining", "last_reload": {"at": 1, "error": "no key"}}')
        page.wait("document.querySelector('#state').textContent === 'draining'")
        assert text(page, "#trouble") == "The last reload failed: no key"
        assert "9 have no place in the table" in text(page, "#connections-note")


def test_a_long_list_does_not_make_the_browser_slow(chromium: Browser) -> None:
    with serving(f"[127.0.0.1]:{free_port()}", connections=5000, still=True) as status:
        page = opened(chromium, status)
        click(page, "#all")
        page.wait(f"{ROWS}.length === 1000")
        assert "5,000 of 5,000" in text(page, "#connections-note")
        type_into(page, "#connections-filter", "2-6000")  # is found although it had no row
        wait_until(lambda: page.value(f"{ROWS}.length") == 1, "one is found")


def test_nothing_has_gone_wrong_in_the_browser(chromium: Browser, status: Status) -> None:
    """Of a page that is used as it should be: no exception, and nothing that the policy forbids."""
    with browser() as fresh:
        page = opened(fresh, status)
        page.wait("document.querySelector('#throughput path.first').getAttribute('d') !== ''")
        click(page, "#connections th[data-field=age] button")
        click(page, "#all")
        page.wait(f"{ROWS}.length === 240")
        assert page.complaints == []
        assert all(url.startswith(("data:", status.url)) for url in page.requests)
