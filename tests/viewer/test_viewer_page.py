"""The viewer's page under load, at unusual widths and with unusual input.

`test_viewer_browser` tests the everyday use of the page.
"""

from __future__ import annotations

import json
import re
import zlib

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from browser import MISNAMED, Page, Viewer, allow_clipboard, event, until, without

pytestmark = [pytest.mark.browser, pytest.mark.needs("chromium", "chromedriver")]

PATH = "/v1/a/b"


def refused(viewer: Viewer, path: str, body: bytes = b"{}") -> int:
    """Post to an invalid path, and return the status."""
    return viewer.status("POST", path, body)


def screen_top(page: Page, text: str) -> float:
    """Return the distance of the row with a text from the top of the window."""
    script = (
        "const row = [...document.querySelectorAll('.row')].find((one) =>"
        " one.innerText.includes(arguments[0]));"
        "return row ? row.getBoundingClientRect().top : null"
    )
    top = page.run(script, text)
    assert top is not None, text
    return float(top)


def active_text(page: Page) -> str:
    """Return the text of the focused element."""
    return page.driver.switch_to.active_element.text


# Requests


def test_a_rejected_request_has_a_reason(page: Page, viewer: Viewer) -> None:
    """A wrong base URL is shown by its path without the keys, and with a reason."""
    assert refused(viewer, "/v2/secret-a/secret-b") == 400
    assert refused(viewer, "/v1/v1/secret-a/secret-b") == 400
    page.go("#requests")
    [twice, other] = [row.text for row in page.all("main table.requests tbody tr", 2)]
    assert "POST /v2/***/***" in other
    assert "400 Bad Request" in other
    assert "the path starts with /v2; expected /v1/AUTH_KEY/API_KEY" in other
    assert "does the base URL end in /v1?" in twice
    assert "secret" not in page.text("main")


def test_a_request_with_invalid_lines_is_not_a_green_200(page: Page, viewer: Viewer) -> None:
    """All lines invalid, some, none: three states, and counts in words."""
    viewer.post(without("userId"))
    viewer.post(without("userId"), event(1))
    viewer.post(event(2))
    page.go("#requests")
    signs, cells = [], []
    for row in page.all("main table.requests tbody tr", 3):
        answer = row.find_element(By.CSS_SELECTOR, ".answer")
        signs.append((answer.get_attribute("class"), answer.text))
        cells.append(row.find_element(By.CSS_SELECTOR, "[data-label=Events]").text)
    assert signs == [
        ("answer is-valid", "200 OK"),
        ("answer is-warning", "200 OK, but 1 dropped"),
        ("answer is-invalid", "200 OK, but all dropped"),
    ]
    assert cells == ["1", "1 valid, 1 invalid", "1 invalid"]
    page.see("tr.bad .is-invalid")


def test_a_body_that_cannot_be_decompressed_has_a_size(page: Page, viewer: Viewer) -> None:
    """Table, details and sums show the received size of such a body."""
    viewer.ask("POST", PATH, b"x" * 85, **{"Content-Encoding": "gzip"})
    page.go("#requests")
    assert "85 B, cannot be decompressed" in page.text("main table.requests")
    page.click("main table.requests a", "1 invalid")
    page.click(".row.is-invalid")
    assert "85 B, cannot be decompressed" in page.text(".part", "Request")
    packed = zlib.compress(json.dumps(event(1)).encode())
    viewer.ask("POST", PATH, packed, **{"Content-Encoding": "deflate"})
    page.go("/#overview")
    page.see(".tile", f"{len(packed)} B sent instead of")


def flood(viewer: Viewer, count: int) -> None:
    """Make many requests over one connection."""
    viewer.flood(PATH, [json.dumps(event(n)).encode() for n in range(count)])


def test_a_request_that_arrives_draws_one_row(page: Page, viewer: Viewer) -> None:
    """A new request adds one row and does not redraw the others."""
    flood(viewer, 60)
    page.go("#requests")
    until(lambda: len(page.find("main table.requests tbody tr")) == 60, "all rows")
    page.run(
        "window.made = 0; new MutationObserver((all) => all.forEach((one) => {"
        " window.made += one.addedNodes.length; }))"
        ".observe(document.querySelector('main tbody'), {childList: true});"
    )
    flood(viewer, 5)
    page.see("main .count-text", "65 requests")
    assert page.run("return window.made") == 5


def test_every_kept_request_can_be_reached(page: Page, viewer: Viewer) -> None:
    """Pages lead to the oldest request and back; a link to a request shows and marks it."""
    flood(viewer, 450)
    first = viewer.ask("GET", "/api/requests?limit=1")["requests"][0]["id"] - 449
    page.go("#requests")
    page.see("main .count-text", f"#{first + 250} to #{first + 449} of 450 requests")
    page.click(".pages a", "Older")
    page.see("main .count-text", f"#{first + 50} to #{first + 249} of")
    page.click(".pages a", "Older")
    page.see("main .count-text", f"#{first} to #{first + 49} of")
    assert page.texts(".pages a") == [
        "Newest requests",
        f"Newer than #{first + 49}",
    ]
    page.go("/?user=ann#requests")
    page.see("main .count-text", "The filter applies to events only")
    page.go("/#requests")
    page.click(".pages a", "Older")
    page.click(".pages a", "Newest")
    page.see("main .count-text", f"#{first + 250} to #{first + 449} of")
    oldest = viewer.ask("GET", "/api/events?limit=1&order=asc")["entries"][0]["id"]
    page.go(f"#live/{oldest}")
    page.click(".links a", f"Request #{first}")
    assert f"#{first} POST" in page.text("tr.marked")
    assert page.driver.current_url.endswith(f"#requests/{first}")
    page.go(f"#requests/{first + 10_000_000}")
    page.see("main .note", "is not kept")


def test_a_marked_request_stays_while_others_arrive(page: Page, viewer: Viewer) -> None:
    """The request of the address keeps its place on the screen."""
    flood(viewer, 120)
    newest = viewer.ask("GET", "/api/requests?limit=1")["requests"][0]["id"]
    page.go(f"#requests/{newest - 60}")
    page.see("tr.marked")
    top = "return document.querySelector('tr.marked')?.getBoundingClientRect().top"
    before = page.run(top)
    flood(viewer, 300)
    until(lambda: "of 420 requests" in page.text("main .count-text"), "all of them")
    assert page.run(top) == pytest.approx(before, abs=2)


# A silent server, an invalid filter

CLOCK = """
    const real = window.setTimeout;
    window.setTimeout = (act, ms, ...more) => real(act, ms > 5000 ? 1500 : ms, ...more);
"""
"""Shorten long timers, so that the test is fast."""


def test_a_silent_server_is_lost(page: Page, viewer: Viewer) -> None:
    """A server that keeps its connections but sends nothing is reported, and found again."""
    page.run(CLOCK)
    viewer.post(event(1))
    page.see(".row", "export 1")
    with viewer.frozen():
        page.see("#connection.is-lost", "reconnecting")
        page.see("#banner", "does not respond")
        page.see(".row", "export 1")
    page.see("#connection.is-on", "connected")
    viewer.post(event(2))
    page.see(".row", "export 2")


STREAM = """
    const done = arguments[arguments.length - 1];
    import("/static/stream.js").then(({ Stream }) => {
      const { EventSource, setTimeout, clearTimeout } = window;
      const timers = new Map();
      const sources = [];
      window.setTimeout = (act, ms) => {
        timers.set(timers.size + 1, [ms, act]);
        return timers.size;
      };
      window.clearTimeout = (id) => { if (timers.has(id)) timers.set(id, null); };
      window.EventSource = class extends EventTarget {
        constructor() { super(); this.isOpen = true; sources.push(this); }
        close() { this.isOpen = false; }
        say(name) { this.dispatchEvent(new MessageEvent(name, { data: '{"run": "1"}' })); }
      };
      const told = [];
      const due = () => [...timers.values()].filter(Boolean).map(([ms]) => ms);
      try {
        const stream = new Stream();
        stream.addEventListener("state", (event) => told.push(event.detail.connected));
        stream.start();
        told.push(due());
        sources[0].say("hello");
        for (const name of ["alive", "alive", "entries"]) sources[0].say(name);
        told.push(due());
        [...timers.values()].find(Boolean)[1]();
        told.push(sources[0].isOpen, due());
        [...timers.values()].filter(Boolean).pop()[1]();
        told.push(sources.length, due());
      } finally {
        Object.assign(window, { EventSource, setTimeout, clearTimeout });
      }
      return told;
    }).then(done, (error) => done(`${error}`));
"""
"""A stream with timers and a server that the test controls."""


def test_the_stream_times_out_after_the_last_message(page: Page) -> None:
    """Each message restarts the timer of the stream; when it expires the stream reconnects."""
    assert page.driver.execute_async_script(STREAM) == [
        [15_000],  # also before the first word: a frozen server takes connections
        True,
        [15_000],
        False,
        False,
        [1_000],
        2,
        [15_000],
    ]


@pytest.mark.parametrize(
    ("query", "words"), [("state=bogus", "state is 'bogus'"), ("request=x", "request is 'x'")]
)
def test_an_invalid_filter_is_reported(page: Page, viewer: Viewer, query: str, words: str) -> None:
    """The page shows the error, leaves no control empty, and one click clears the filter."""
    viewer.post(event(1))
    page.open(f"/?{query}#live")
    page.see(".empty", words)
    assert page.find(".row") == []
    for control in page.find("button, select"):
        assert control.accessible_name, control.get_attribute("outerHTML")
    page.click("button", "Filter")
    assert page.see("#filter-state").get_attribute("value") == ""
    page.click(".empty button", "Clear the filter")
    page.see(".row", "export 1")
    page.gone(".empty")


# The list


def test_an_open_event_holds_the_list(page: Page, viewer: Viewer) -> None:
    """While an event is open the list does not move; new events are counted and can be added."""
    viewer.post(*[event(n) for n in range(20)])
    page.click(".row", "export 12")
    page.see(".detail", "export 12")
    before = screen_top(page, "export 12")
    viewer.post(*[event(n) for n in range(100, 350)])
    page.see(".newer-events", "250 newer events")
    assert screen_top(page, "export 12") == before
    page.press("k")
    page.see(".detail h2", "export 13")
    page.press("j")
    page.see(".detail h2", "export 12")
    page.click(".newer-events")
    page.see(".row", "export 349")
    page.see(".detail h2", "export 12")
    viewer.post(event(400))
    page.see(".newer-events", "1 newer event")
    page.press(Keys.ESCAPE)
    page.gone(".detail")
    page.run("document.querySelector('.rows').scrollTop = 0")
    page.see(".row", "export 400")


def test_an_old_event_is_shown_among_its_neighbours(page: Page, viewer: Viewer) -> None:
    """Opened by its address, an old event has its neighbours around it, and `k` moves to one."""
    viewer.post(*[event(n) for n in range(1_000)])
    newest = viewer.ask("GET", "/api/events?limit=1")["newest"]
    page.open(f"/#live/{newest - 900}")
    page.see(".detail h2", "export 99")
    page.see(".row[aria-selected=true]", "export 99")
    page.see(".row", "export 101")
    page.press("k")
    page.see(".detail h2", "export 100")


def test_the_arrows_move_the_open_event_too(page: Page, viewer: Viewer) -> None:
    """Arrow, Page and End keys in the list change the open event, as j and k do."""
    viewer.post(*[event(n) for n in range(300)])
    page.click(".row", "export 299")
    page.see(".detail h2", "export 299")
    page.press(Keys.ARROW_DOWN)
    page.see(".detail h2", "export 298")
    page.press(Keys.ARROW_UP)
    page.see(".detail h2", "export 299")
    page.press(Keys.END)
    page.see(".detail h2", "export 0")
    page.press(Keys.HOME)
    page.see(".detail h2", "export 299")


def test_one_press_of_end_is_enough(page: Page, viewer: Viewer) -> None:
    """The last of a thousand events becomes active and focused as soon as it is loaded."""
    viewer.post(*[event(n) for n in range(1_000)])
    page.see(".row", "export 999")
    page.see(".rows").send_keys(Keys.END)
    until(lambda: "export 0\n" in active_text(page), "the focus on the last row")
    assert page.text(".row[aria-selected=true]") == active_text(page)
    page.press(Keys.ARROW_UP)
    until(lambda: "export 1\n" in active_text(page), "the focus on the row before it")


@pytest.mark.parametrize("scrolled", [0, 2_000])
def test_a_clicked_row_keeps_its_place(page: Page, viewer: Viewer, scrolled: int) -> None:
    """Rows grow beside an open event; the clicked one keeps its place on the screen."""
    viewer.post(*[event(n) for n in range(200)])
    page.see(".row", "export 199")
    page.run("document.querySelector('.rows').scrollTop = arguments[0]", scrolled)
    text = f"export {199 - scrolled // 38 - 11}"
    page.see(".row", text)
    before = screen_top(page, text)
    page.click(".row", text)
    page.see(".detail h2", text)
    assert screen_top(page, text) == pytest.approx(before, abs=1)
    page.press(Keys.ESCAPE)
    page.gone(".detail")
    until(lambda: abs(screen_top(page, text) - before) <= 1, "the row back in its place")


# Filters everywhere


def test_a_kind_of_problem_is_a_filter(page: Page, viewer: Viewer) -> None:
    """A kind of problem can be filtered from the overview and from an event."""
    viewer.post(without("userId", 1), without("userId", 2), without("accountId", 3), event(4))
    page.go("#overview")
    page.click(".card a", "missing userId")
    until(lambda: page.count() == "2 events found", "both events of that kind")
    assert "?problem=missing+userId#live" in page.driver.current_url
    assert all("userId is missing" in row for row in page.rows())
    page.click(".chip", "missing userId")
    until(lambda: page.count() == "4 events", "all events")
    page.click(".row", "accountId is missing")
    page.click(".problems .only")
    until(lambda: page.count() == "1 event found", "the one event of the other kind")
    page.click("button", "Filter")
    assert page.see("#filter-problem").get_attribute("value") == "missing accountId"


def test_the_filter_applies_to_the_overview(page: Page, viewer: Viewer) -> None:
    """It is in the address and in the links, limits the counts, and can be removed."""
    viewer.post(event(1), event(2), without("module", 3))
    viewer.post(event(4, userId="bob"), without("sessionId", 5, userId="bob"))
    page.open("/?user=ann#overview")
    page.see(".head .count-text", "3 of 5 events")
    page.see(".tile.is-warning", "1")
    page.see(".chip", "ann")
    assert "bob" not in page.text(".cards")
    page.click(".tile.is-warning")
    until(lambda: page.count() == "1 event found", "the warning of that user")
    assert page.driver.current_url.endswith("/?user=ann&state=warning#live")
    page.driver.back()
    page.see(".head .count-text", "3 of")
    page.click(".chip", "ann")
    until(lambda: page.text(".head .count-text") == "5 events", "all events")
    assert page.driver.current_url.endswith("/#overview")
    page.press("/")
    page.press("bob")
    page.see(".head .count-text", "2 of 5 events")
    assert page.driver.current_url.endswith("/?q=bob#overview")
    page.open("/?state=bogus#overview")
    page.see(".setup", "state is 'bogus'")


def test_the_filter_applies_to_the_sessions(page: Page, viewer: Viewer) -> None:
    """Sessions without matches are not listed; counts equal the events of the timeline."""
    viewer.post(event(1), event(2), event(3, userId="bob"), event(4, userId="eve", sessionId="t"))
    viewer.post(without("userId", 5))
    page.open("/#sessions")
    page.see(".session-list a", "4 events")
    page.see(".session-list a", "and 1 more")
    page.see(".head .count-text", "2 sessions")
    page.go("/?user=ann#sessions")
    page.see(".head .count-text", "1 session")
    page.click(".session-list a", "2 events")
    until(lambda: len(page.find(".timeline .step")) == 2, "the two events of ann")
    page.click(".timeline a", "export 2")
    page.see(".detail h2", "export 2")
    assert "session=s" in page.driver.current_url
    assert "user=ann" in page.driver.current_url
    page.open("/?request=x#sessions")
    page.see(".setup", "request is 'x'")


# Sessions


def test_a_time_in_seconds_does_not_stretch_a_session(page: Page, viewer: Viewer) -> None:
    """List and timeline use the arrival for such an event."""
    now = viewer_time(viewer)
    viewer.post(event(1, createdAt=now - 2_000), event(2, createdAt=now // 1000))
    page.go("#sessions")
    card = page.text(".session-list a", "2 events")
    assert "1970" not in card
    assert " d" not in card
    page.click(".session-list a")
    page.all(".timeline .step", 2)
    assert "1970" not in page.text("main")
    lasted = page.text(".facts.wide", "Duration")
    assert re.search(r"Duration\n[\d.]+ (s|ms|min)\b", lasted), lasted


def viewer_time(viewer: Viewer) -> int:
    """Return the viewer's current time in epoch milliseconds."""
    viewer.post(event(sessionId=""))
    at = viewer.ask("GET", "/api/events?limit=1")["entries"][0]["at"]
    viewer.ask("DELETE", "/api/events")
    return int(at)


def test_every_session_can_be_reached(page: Page, viewer: Viewer) -> None:
    """The list states how many sessions there are, and one click shows more of them."""
    viewer.post(*[event(n, sessionId=f"s-{n}") for n in range(130)])
    page.go("#sessions")
    page.see(".head .count-text", "The newest 100 of 130 sessions")
    page.all(".session-list a", 100)
    page.click("button", "Show 30 more")
    page.all(".session-list a", 130)
    page.see(".head .count-text", "130 sessions")
    page.gone("button", "more")


# Widths


def test_names_are_whole_in_a_wide_window(page: Page, viewer: Viewer) -> None:
    """Columns grow with the window, so that names of usual length are not cut."""
    name = "maria.magdalena.oppenheimer@a-company.example"
    viewer.post(event(1, userId=name, sessionId=f"{name}-1"))
    page.size(2_560, 1_000)
    page.see(".row", name)
    cut = page.run(
        "return [...document.querySelectorAll('.row .cell')]"
        ".filter((cell) => cell.scrollWidth > cell.clientWidth).map((cell) => cell.innerText)"
    )
    assert cut == []


BROKEN = """
    const walker = document.createTreeWalker(arguments[0], NodeFilter.SHOW_TEXT);
    const broken = [];
    while (walker.nextNode()) {
      const text = walker.currentNode;
      if (!text.parentElement.checkVisibility()) continue;
      for (const found of text.data.matchAll(/\\w+/g)) {
        const range = document.createRange();
        range.setStart(text, found.index);
        range.setEnd(text, found.index + found[0].length);
        const lines = new Set([...range.getClientRects()].map((one) => Math.round(one.top)));
        if (lines.size > 1) broken.push(found[0]);
      }
    }
    return broken;
"""
"""Return the words of an element that are broken across lines."""


@pytest.mark.parametrize("width", [380, 768, 900, 1_000, 1_100, 1_280])
def test_the_table_of_requests_breaks_no_word(page: Page, viewer: Viewer, width: int) -> None:
    """At any width no word of the table is broken, and the page does not scroll sideways."""
    page.size(width)
    body = zlib.compress(b"".join(json.dumps(event(n)).encode() + b"\n" for n in range(300)))
    agent = "fslog/0.1.0 python-urllib3/2.2.1"
    viewer.ask("POST", "/api/outcomes", b'{"outcomes": [{"status": 503}]}')
    assert viewer.status("POST", PATH, json.dumps(event(1)).encode()) == 503
    viewer.ask("POST", PATH, json.dumps(event(1)).encode(), **{"User-Agent": agent})
    viewer.ask("POST", PATH, body, **{"Content-Encoding": "deflate", "User-Agent": agent})
    assert refused(viewer, "/v2/a/b") == 400
    page.go("#requests")
    assert page.run(BROKEN, page.see("main table.requests")) == []
    assert page.run("return document.documentElement.scrollWidth") <= width
    scroll = "const view = document.querySelector('.requests-view .scroll');"
    assert page.run(f"{scroll} return view.scrollWidth - view.clientWidth") <= 0


# Names and focus


def test_the_name_of_a_control_contains_its_text(page: Page, viewer: Viewer) -> None:
    """For speech input, accessible names contain the visible text, in every view."""
    allow_clipboard(page)
    viewer.post(event(1), without("userId", 2), without("module", 3, details={"a": 1}))
    newest = viewer.ask("GET", "/api/events?limit=1")["newest"]
    places = ("live", f"live/{newest - 1}", "overview", "sessions", "sessions/s", "requests")
    for place in (*places, "server"):
        page.go(f"/?account=acme#{place}")
        page.see("main .view h2, main .setup, main .row")
        assert page.run(MISNAMED) == [], place
    page.go(f"/#live/{newest}")
    page.click(".detail [aria-label='Copy JSON']")
    page.see(".detail .copy", "Copied")
    assert page.run(MISNAMED) == []


FOCUS = "return document.activeElement === document.body ? '' : document.activeElement.className"


@pytest.mark.parametrize(
    ("place", "opener", "field"),
    [
        ("/#live", "", "#filter-q"),
        ("/#live", "Filter", "#filter-user"),
        ("/#live", "Filter", "#filter-state"),
        ("/#overview", "", "#filter-q"),
        ("/#sessions", "Filter", "#filter-account"),
        ("/#server", "", "#how-long"),
    ],
)
def test_escape_moves_the_focus_from_a_field_to_the_view(
    page: Page, viewer: Viewer, place: str, opener: str, field: str
) -> None:
    """The view gets the focus, for further keys; in the list no row becomes active."""
    viewer.post(event(1), event(2))
    page.open(place)
    if opener:
        page.click("button", opener)
    page.run("document.querySelector(arguments[0]).focus()", field)
    page.press(Keys.ESCAPE)
    assert page.run("return document.activeElement.closest('main') !== null")
    assert page.run("return document.activeElement.matches('input, select')") is False
    if place == "/#live":
        assert page.run(FOCUS) == "rows"
        page.press(Keys.ARROW_DOWN)
        until(lambda: "export 2" in active_text(page), "the first row")


def test_escape_moves_the_focus_from_an_event_to_its_row(page: Page, viewer: Viewer) -> None:
    """The row gets the focus, however the event was opened."""
    viewer.post(*[event(n) for n in range(300)])
    newest = viewer.ask("GET", "/api/events?limit=1")["newest"]
    for width in (1_280, 700):
        page.size(width)
        page.open(f"/#live/{newest - 200}")
        page.see(".detail h2", "export 99")
        page.run("document.querySelector('.detail [role=tab]').focus()")
        page.press(Keys.ESCAPE)
        page.gone(".detail")
        until(lambda: "export 99" in active_text(page), "the focus on the row")


def test_a_button_that_disappears_keeps_the_focus_in_the_page(page: Page, viewer: Viewer) -> None:
    """After a click on a chip or on other buttons that disappear, an element has the focus."""
    viewer.post(event(userId="bob"), *[event(n) for n in range(100)])
    page.open("/?account=acme&user=ann#live")
    until(lambda: page.count() == "100 events found", "the events of ann")
    page.click(".chip", "ann")
    until(lambda: page.count() == "101 events found", "those of bob too")
    assert page.run(FOCUS) != ""
    page.run("document.querySelector('.rows').scrollTop = 2000")
    page.see(".row", "export 40")
    viewer.post(event(200))
    page.click(".newer-events")
    page.see(".row", "export 200")
    assert page.run(FOCUS) != ""
    viewer.ask("PUT", "/api/outcomes", b'{"status": 503}')
    page.click("#banner button", "Restore normal answers")
    page.gone("#banner")
    assert page.run(FOCUS) != ""
