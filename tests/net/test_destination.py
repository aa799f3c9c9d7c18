"""A destination is checked when it is configured, and no message shows a key."""

from __future__ import annotations

import logging
import pickle
import string
import traceback
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fslog.net.destination
from fslog import FreshsuccessHandler
from fslog.delivery import notices
from fslog.net.destination import Destination, destination, endpoint_url, is_loopback, proxy_url
from fslog.spool.directory import spool_directory

AUTH, API = "the-auth-key-1", "the-api-key-2"
GOOD = string.ascii_letters + string.digits + "._~!$&'()*+,;=:@-"
ANYWHERE = {"https_proxy": "http://lower.example:1", "NO_PROXY": ""}


def make(environ: dict[str, str] | None = None, **arguments: Any) -> Destination:
    """Return a destination of some arguments, with valid keys unless given."""
    given = {"auth_key": AUTH, "api_key": API, "needs_keys": True, **arguments}
    for name in ("datacenter", "endpoint", "proxy"):
        given.setdefault(name, None)
    return destination(**given, environ=environ or {}, log=notices.log)


def refusal(kind: type[Exception], environ: dict[str, str] | None = None, **arguments: Any) -> str:
    """Return an error's text, repr and traceback."""
    with pytest.raises(kind) as caught:
        make(environ, **arguments)
    error = caught.value
    return "\n".join((str(error), repr(error), *traceback.format_exception(error)))


def test_the_urls_are_those_of_the_api() -> None:
    """Both data centers and a custom endpoint give the paths of EVENT_API."""
    assert make().events_url() == f"https://events-us.freshsuccess.com/v1/{AUTH}/{API}"
    assert (
        make(datacenter="eu").events_url() == f"https://events-eu.freshsuccess.com/v1/{AUTH}/{API}"
    )
    assert make().ping_url() == "https://events-us.freshsuccess.com/v1/ping"
    ours = make(endpoint="https://events.example/in/", datacenter="eu")
    assert ours.events_url() == f"https://events.example/in/v1/{AUTH}/{API}"
    assert ours.host == "events.example"


def test_the_environment_is_the_default() -> None:
    """Keys, data center and endpoint have variables; an argument wins over its variable."""
    environ = {"FSLOG_AUTH_KEY": "ea", "FSLOG_API_KEY": "eb", "FSLOG_DATACENTER": "eu"}
    bare = {"auth_key": None, "api_key": None}
    assert make(environ, **bare).events_url() == "https://events-eu.freshsuccess.com/v1/ea/eb"
    assert make(environ, datacenter="us").host == "events-us.freshsuccess.com"
    assert make(environ).events_url().endswith(f"/{AUTH}/{API}")
    environ["FSLOG_ENDPOINT"] = "http://127.0.0.1:8080"
    assert make(environ, **bare).events_url() == "http://127.0.0.1:8080/v1/ea/eb"
    assert make(environ, endpoint="https://x.example").host == "x.example"


def test_empty_variables_are_ignored() -> None:
    """A variable that is empty or blank is ignored."""
    environ = dict.fromkeys(("FSLOG_DATACENTER", "FSLOG_ENDPOINT", "HTTPS_PROXY"), " ")
    assert make(environ).host == "events-us.freshsuccess.com"
    assert make(environ).proxy_url() is None


@pytest.mark.parametrize("around", ["{}\n", "\r\n{}\r\n", "  {}\t"])
def test_keys_are_stripped(around: str) -> None:
    """Blanks and newlines around a key are stripped, in arguments and in variables."""
    environ = {"FSLOG_AUTH_KEY": around.format("ea"), "FSLOG_API_KEY": around.format("eb")}
    assert make(environ, auth_key=None, api_key=None).events_url().endswith("/v1/ea/eb")
    url = make(auth_key=around.format(AUTH), api_key=around.format(API)).events_url()
    assert url.endswith(f"/v1/{AUTH}/{API}")


@given(auth=st.text(alphabet=GOOD, min_size=1), api=st.text(alphabet=GOOD, min_size=1))
def test_every_valid_key_is_in_the_path_unencoded(auth: str, api: str) -> None:
    """What RFC 3986 allows in a path segment is accepted unencoded, except dots alone."""
    if {auth, api} & {".", ".."}:
        refusal(ValueError, auth_key=auth, api_key=api)
    else:
        url = make(auth_key=auth, api_key=api).events_url()
        assert url == f"https://events-us.freshsuccess.com/v1/{auth}/{api}"


# Of letters that nothing in an error or in a traceback is made of, not even its markers (~~^^).
PARTS = st.text(alphabet="QXZJ$", min_size=4, max_size=20)


@given(
    start=PARTS,
    bad=st.characters(blacklist_characters=GOOD),
    end=PARTS,
    name=st.sampled_from(["auth_key", "api_key"]),
    by_variable=st.booleans(),
)
def test_an_invalid_key_is_an_error_that_does_not_show_it(
    start: str, bad: str, end: str, name: str, by_variable: bool
) -> None:
    """The error names the argument and the position, and contains no part of the key."""
    value = f"{start}{bad}{end}"
    if by_variable:
        text = refusal(ValueError, {f"FSLOG_{name.upper()}": value}, **{name: None})
    else:
        text = refusal(ValueError, **{name: value})
    assert name in text
    assert str(len(start) + 1) in text
    assert start not in text
    assert end not in text


@pytest.fixture
def unmentioned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reset the record of the keys that were reported as too short."""
    monkeypatch.setattr(fslog.net.destination, "_mentioned", set())


@pytest.mark.usefixtures("unmentioned")
def test_a_key_that_is_too_short_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Each key is warned of once per process, by its name and without its value."""
    caplog.set_level("INFO", "fslog")
    for _ in range(2):
        make(auth_key="jjjjj", api_key="8-letter")
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert record.name == "fslog"
    assert "auth_key has fewer than 8 characters" in record.getMessage()
    for _ in range(2):
        make(auth_key="jjjjj", api_key="qqqqqqq")
    assert "api_key has fewer than 8 characters" in caplog.records[1].getMessage()
    assert len(caplog.records) == 2
    assert "jjjjj" not in caplog.text
    assert "qqqqqqq" not in caplog.text


@pytest.mark.usefixtures("unmentioned")
def test_a_short_key_for_loopback_is_not_a_warning(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Endpoints on loopback accept any keys, so the notice is an INFO."""
    make(auth_key="any", api_key="any", needs_keys=False)
    assert caplog.records == []
    caplog.set_level("INFO", "fslog")
    make(auth_key="any", api_key="any", endpoint="http://127.0.0.1:8020")
    assert [record.levelname for record in caplog.records] == ["INFO", "INFO"]
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("unmentioned")
def test_a_short_key_is_written_to_stderr_if_no_handler_shows_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Like every warning of fslog, also before logging is configured."""
    monkeypatch.setattr(logging.getLogger("fslog"), "propagate", False)
    make(auth_key="jjjjj")
    err = capsys.readouterr().err
    assert "auth_key has fewer than 8 characters" in err
    assert "jjjjj" not in err


def test_a_spool_path_may_contain_a_short_key() -> None:
    """A spool path may contain a short key such as `test`, but not a real key."""
    to = make(auth_key="test", api_key=API)
    assert spool_directory("/srv/test/spool", to, {}) is not None
    with pytest.raises(ValueError, match="contains a key"):
        spool_directory(f"/srv/test/{API}/spool", to, {})


@pytest.mark.parametrize("name", ["auth_key", "api_key"])
@pytest.mark.parametrize("value", [None, "", " \n"])
def test_a_missing_key_is_named_with_its_variable(name: str, value: str | None) -> None:
    """The error names the missing key, and where it can be set."""
    text = refusal(ValueError, **{name: value})
    assert f"{name} is missing" in text
    assert f"FSLOG_{name.upper()}" in text


@pytest.mark.parametrize("name", ["auth_key", "api_key"])
@pytest.mark.parametrize("value", [b"bytes-key-1", 12345678, ["list-key-1"], {"dict-key-1": 1}])
def test_a_key_of_the_wrong_type_is_not_shown(name: str, value: Any) -> None:
    """A TypeError names the argument and the type, but not the value, which may be the key."""
    text = refusal(TypeError, **{name: value})
    assert name in text
    assert type(value).__name__ in text
    assert str(value).strip("b'[]{}: 1") not in text


@pytest.mark.parametrize("missing", ["auth_key", "api_key"])
def test_one_key_of_the_two_is_an_error(missing: str) -> None:
    """If keys are optional, both or neither are accepted; one is not shown in the error."""
    text = refusal(ValueError, **{missing: None}, needs_keys=None)
    assert text.startswith(f"{missing} is missing, although ")
    assert make(needs_keys=None).has_keys()
    assert not make(auth_key=None, api_key=None, needs_keys=None).has_keys()


def test_a_disabled_handler_needs_no_keys_but_no_bad_ones_either() -> None:
    """Without keys a destination can be created, but an invalid key is still an error."""
    bare = make(auth_key=None, api_key=None, needs_keys=False)
    assert bare.ping_url().startswith("https://")
    with pytest.raises(RuntimeError, match="without keys"):
        bare.events_url()
    assert "auth_key" in refusal(ValueError, auth_key="not good", needs_keys=False)


@pytest.mark.parametrize("value", ["uk", "US", "", "us "])
def test_an_unknown_datacenter_is_refused(value: str) -> None:
    """The error names the argument and both data centers."""
    text = refusal(ValueError, datacenter=value)
    for word in ("datacenter", "'us'", "'eu'"):
        assert word in text


@pytest.mark.parametrize("value", [1, b"us", True])
def test_a_datacenter_of_the_wrong_type_is_refused(value: Any) -> None:
    """A datacenter that is not a string is a TypeError that names the argument."""
    assert "datacenter" in refusal(TypeError, datacenter=value)


@pytest.mark.parametrize("name", ["datacenter", "endpoint", "proxy"])
def test_a_key_in_the_wrong_argument_is_not_shown(name: str) -> None:
    """If the arguments are mixed up, the error names the invalid one without its value."""
    secret = "wrong place/for-the-key-3"
    assert name in refusal(ValueError, **{name: secret})
    assert "for-the-key-3" not in refusal(ValueError, **{name: secret})


@pytest.mark.parametrize(
    "value",
    [
        "",
        "events.example",
        "ftp://events.example",
        "//events.example",
        "https://",
        "https:///v1/the-secret-a/the-secret-b",
        "https://events.example/v1/the-secret-a/the-secret-b",
        "https://the-secret-a:the-secret-b@events.example",
        "https://events.example/?key=the-secret-a",
        "https://events.example/#the-secret-a",
        "https://events.example/a b-the-secret-a",
        "https://events.example/%2e%2e/the-secret-a",
        "https://events.example:port-the-secret-a",
        "https://events.example:99999",
        "https://[::1",
        "https://events.example\\the-secret-a",
        "https://events.example/\nthe-secret-a",
        "https://b\u00fccher.example",
        "https://events..example",
        "https://" + "a" * 64 + ".example",
        "http://events.example",
        "http://10.0.0.1:8080",
        "http://0.0.0.0:8080",
        "http://localhost.example",
        "http://127.0.0.1.example",
        "http://[fe80::1]:8080",
    ],
)
def test_a_bad_endpoint_is_refused_without_being_shown(value: str) -> None:
    """An endpoint that is unusable, or would expose the keys, is a ValueError without keys."""
    for text in (
        refusal(ValueError, endpoint=value),
        refusal(ValueError, {"FSLOG_ENDPOINT": value or "x"}),
    ):
        assert "endpoint" in text
        assert "the-secret" not in text


@pytest.mark.parametrize("value", [1, b"https://events.example", ["https://events.example"]])
def test_an_endpoint_of_the_wrong_type_is_refused(value: Any) -> None:
    """An endpoint that is not a string is a TypeError that names the argument."""
    assert "endpoint" in refusal(TypeError, endpoint=value)


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("https://events.example/", "https://events.example"),
        ("https://events.example:8443/a/b.c", "https://events.example:8443/a/b.c"),
        (" https://10.1.2.3\n", "https://10.1.2.3"),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://127.0.0.9", "http://127.0.0.9"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_good_endpoints(value: str, url: str) -> None:
    """https is accepted for any host, plain http for loopback; a final slash is removed."""
    assert endpoint_url(value) == url


@given(st.text(max_size=60) | st.from_regex(r"https?://[!-~]{0,40}", fullmatch=True))
def test_any_string_is_a_valid_endpoint_or_a_value_error(value: str) -> None:
    """Any accepted endpoint is https, or plain http to loopback."""
    try:
        url = endpoint_url(value)
    except ValueError:
        return
    host = url.partition("//")[2].partition("/")[0]
    assert url.lower().startswith("https://") or is_loopback(host.rpartition(":")[0] or host)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.255.255.254", "::1"])
def test_loopback(host: str) -> None:
    """These are certainly this machine."""
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "localhost2", "0.0.0.0", "128.0.0.1", "::", "::2", "a.b"])
def test_not_loopback(host: str) -> None:
    """These may be another machine, or none."""
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("environ", "proxy"),
    [
        ({}, None),
        ({"https_proxy": "http://lower.example:1"}, "http://lower.example:1"),
        ({"HTTPS_PROXY": "http://upper.example:1"}, "http://upper.example:1"),
        ({"HTTPS_PROXY": "http://upper.example:1", **ANYWHERE}, "http://lower.example:1"),
        ({**ANYWHERE, "HTTPS_PROXY": "http://upper.example:1"}, "http://lower.example:1"),
        ({"all_proxy": "http://all.example:1"}, "http://all.example:1"),
        ({"ALL_PROXY": "http://all.example:1"}, "http://all.example:1"),
        ({"ALL_PROXY": "http://all.example:1", **ANYWHERE}, "http://lower.example:1"),
        ({"http_proxy": "http://plain.example:1"}, None),
        ({"HTTP_PROXY": "http://plain.example:1"}, None),
        ({"https_proxy": "proxy.example:3128"}, "http://proxy.example:3128"),
        ({"https_proxy": "https://u:p@proxy.example:3128"}, "https://u:p@proxy.example:3128"),
        ({**ANYWHERE, "no_proxy": "events.example"}, None),
        ({**ANYWHERE, "NO_PROXY": "events.example"}, None),
        ({**ANYWHERE, "NO_PROXY": "other.example, .example"}, None),
        ({**ANYWHERE, "NO_PROXY": "*"}, None),
        ({**ANYWHERE, "NO_PROXY": "events.example:8443"}, None),
        ({**ANYWHERE, "NO_PROXY": "events.example:1"}, "http://lower.example:1"),
        ({**ANYWHERE, "NO_PROXY": "ents.example"}, "http://lower.example:1"),
        ({**ANYWHERE, "NO_PROXY": "events.example", "no_proxy": "x"}, "http://lower.example:1"),
    ],
)
def test_the_environments_proxy(environ: dict[str, str], proxy: str | None) -> None:
    """The usual variables apply, lower case first, except for hosts in NO_PROXY."""
    assert proxy_url("https://events.example:8443", None, environ) == proxy


def test_a_given_proxy_takes_precedence_and_an_empty_one_means_none() -> None:
    """The argument replaces the environment, NO_PROXY included."""
    environ = {**ANYWHERE, "NO_PROXY": "*"}
    base = "https://events.example"
    assert proxy_url(base, "http://given.example:1", environ) == "http://given.example:1"
    assert proxy_url(base, "", ANYWHERE) is None
    assert proxy_url(base, " ", ANYWHERE) is None


def test_no_proxy_of_the_environment_sees_a_plain_http_url() -> None:
    """A loopback endpoint is reached directly, because a proxy would see the whole URL."""
    environ = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://proxy.example:1")
    assert proxy_url("http://127.0.0.1:8080", None, environ) is None
    given = {"endpoint": "http://127.0.0.1:8080"}
    assert "proxy" in refusal(ValueError, proxy="http://proxy.example:1", **given)
    assert make(proxy="http://127.0.0.1:1", **given).proxy_url() == "http://127.0.0.1:1"


@pytest.mark.parametrize(
    "value",
    [
        "socks5://u:the-secret@proxy.example",
        "http://",
        "http://u:the-secret@",
        "http://u:the-secret@proxy.example:port",
        "http://proxy example:1/the-secret",
        "http://u:the-secret\n@proxy.example",
    ],
)
def test_a_bad_proxy_is_refused_without_its_password(value: str) -> None:
    """An unusable proxy is a ValueError, whether given or from the environment."""
    assert "proxy" in refusal(ValueError, proxy=value)
    assert "the-secret" not in refusal(ValueError, proxy=value)
    assert "the-secret" not in refusal(ValueError, {"HTTPS_PROXY": value})


@pytest.mark.parametrize("value", [1, b"http://proxy.example", ["x"]])
def test_a_proxy_of_the_wrong_type_is_refused(value: Any) -> None:
    """A proxy that is not a string is a TypeError that names the argument."""
    assert "proxy" in refusal(TypeError, proxy=value)


def test_nothing_shows_a_destinations_secrets() -> None:
    """`repr` and `str` show the host only; the proxy's credentials are redacted too."""
    ours = make(proxy="http://the-user-3:p%40ss-word-4@proxy.example:1")
    shown = f"{ours!r} {ours} {ours.redact!r}"
    assert "events-us.freshsuccess.com" in shown
    for secret in (AUTH, API, "the-user-3", "p%40ss-word-4", "p@ss-word-4"):
        assert secret not in shown
        assert secret not in ours.redact(f"before {secret} after")


def test_destinations_are_independent() -> None:
    """Two destinations of the same arguments are independent, and survive a pickle."""
    first, second = make(), make()
    assert first is not second
    again = pickle.loads(pickle.dumps(first))
    assert again.events_url() == first.events_url()
    assert again.redact(AUTH) == "***"


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"auth_key": "bad key-s3cret"}, ValueError),
        ({"api_key": "bad/key-s3cret"}, ValueError),
        ({"auth_key": b"key-s3cret"}, TypeError),
        ({"endpoint": "http://key-s3cret@events.example"}, ValueError),
        ({"proxy": "socks5://u:key-s3cret@h"}, ValueError),
    ],
)
def test_the_handler_raises_the_destinations_errors(
    arguments: dict[str, Any], kind: type[Exception]
) -> None:
    """The handler's constructor raises the same error, which names the argument, not the secret."""
    with pytest.raises(kind) as caught:
        FreshsuccessHandler(**{"auth_key": AUTH, "api_key": API, **arguments})
    text = "".join(traceback.format_exception(caught.value))
    assert next(iter(arguments)) in str(caught.value)
    assert "key-s3cret" not in text
