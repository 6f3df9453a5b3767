"""Secrets go, everything else stays. No secret stands in this file: each is put together when the test runs."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph.redaction import secrets
from graph.redaction.redact import redact
from graph.redaction.secrets import RULES, hinted

RANDOM = "Ab3dEf6hIj9lMn2pQr5tUv8xYz1BcD4e"
HEX = "0123456789abcdef"
EXAMPLES = int(os.environ.get("REFLEXD_REDACTION_EXAMPLES", "300"))

KEYS = {
    "openai": "sk-" + "proj-" + RANDOM,
    "anthropic": "sk-" + "ant-api03-" + RANDOM * 3,
    "openrouter": "sk-" + "or-v1-" + HEX * 4,
    "github": "gh" + "p_" + RANDOM + "abcd",
    "github fine-grained": "github" + "_pat_" + RANDOM + "_" + RANDOM,
    "gitlab": "gl" + "pat-" + RANDOM,
    "aws": "AK" + "IA" + "ABCDEFGH12345678",
    "google": "AI" + "za" + RANDOM + "xyz",
    "slack": "xo" + "xb-123456789012-" + RANDOM,
    "slack hook": "hooks.slack" + ".com/services/" + "T00000000/B00000000/" + RANDOM,
    "stripe": "sk" + "_live_" + RANDOM,
    "npm": "np" + "m_" + RANDOM + "abcd",
    "pypi": "py" + "pi-" + RANDOM * 2,
    "hugging face": "h" + "f_" + RANDOM,
}
JWT = ".".join(("ey" + "J" + RANDOM, "ey" + "J" + RANDOM, RANDOM))
PEM = "\n".join(
    ["-----BEGIN RSA " + "PRIVATE KEY-----", *[RANDOM * 2] * 6, RANDOM[:9] + "==", "-----END RSA " + "PRIVATE KEY-----"]
)
SSH = "ssh-" + "ed25519 AAAA" + RANDOM * 2

CASES = [
    *((name, f"the key {key}, see", "the key [redacted key], see") for name, key in KEYS.items()),
    ("key in quotes", f'"{KEYS["openai"]}"', '"[redacted key]"'),
    ("jwt", f"cookie={JWT};", "cookie=[redacted token];"),
    ("pem", f"x\n{PEM}\ny", "x\n[redacted private key]\ny"),
    ("pem in json", '{"k": "' + PEM.replace("\n", "\\n") + '"}', '{"k": "[redacted private key]"}'),
    ("pem cut off", PEM[:150], "[redacted private key]"),
    ("ssh", f"{SSH} work", "[redacted ssh key] work"),
    ("bearer", f"Authorization: Bearer {RANDOM}", "Authorization: Bearer [redacted token]"),
    ("password", "PASSWORD=hunter2", "PASSWORD=[redacted password]"),
    ("quoted password", "password: 'correcthorse'", "password: '[redacted password]'"),
    ("json password", '{"password": "s3cret!"}', '{"password": "[redacted password]"}'),
    ("escaped json", '{\\"password\\": \\"s3cret!\\"}', '{\\"password\\": \\"[redacted password]\\"}'),
    ("flag", "--password hunter2 --quiet", "--password [redacted password] --quiet"),
    ("token", f"token: {RANDOM}", "token: [redacted token]"),
    ("aws secret", f"aws_secret_access_key = {RANDOM}/+ab", "aws_secret_access_key = [redacted token]"),
    ("query", "?token=abc123def456&page=2", "?token=[redacted token]&page=2"),
    ("connection", "postgres://joe:pw1@db.example.com:5432/x", "postgres://[redacted login]@db.example.com:5432/x"),
    ("userinfo", "https://joe@example.com/x", "https://[redacted login]@example.com/x"),
    ("mail", "ask joe.doe+x@mail.example.co.uk.", "ask [redacted mail]."),
    ("home", "in /home/joe/src/x.py:3", "in ~/src/x.py:3"),
    ("mac home", "cd /Users/joe.doe && ls", "cd ~ && ls"),
    ("windows home", "C:\\Users\\Joe\\work", "~/work"),
    ("escaped windows home", "c:\\\\users\\\\joe\\\\work", "~/work"),
    ("file address", "file:///home/joe/x", "file://~/x"),
    ("include path", "-I/home/joe/include", "-I~/include"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_secret_goes_and_the_rest_stays(text, expected):
    found = redact(text)
    assert found.text == expected
    assert sum(found.counts.values()) == 1
    assert redact(expected) == type(found)(expected, {})


@pytest.mark.parametrize(
    "text",
    [
        "commit 3f786850e387550fdab836ed7e6dc881de23001b",
        "sha256:" + HEX * 4,
        "550e8400-e29b-41d4-a716-446655440000",
        "version 1.22.3-rc.1+build.5, python>=3.11",
        "token = self.next_token()",
        "def login(password: str, token: str | None = None) -> bool:",
        "api_key=api_key, secret=secret_2, access_token=token",
        'secret = os.environ["SECRET_1"]',
        "password = getpass()",
        "password: ${{ secrets.DB_PASSWORD_1 }}",
        "token: <your token 123>",
        "lease_token=lease_token+1, attempt=attempt+1",
        "max_tokens=4096, tokens: 12",
        "PWD=/usr/local/x1",
        "react@18.2.0 and foo@1.2.3-beta.rc",
        "git@github.com:org/repo.git, ssh://git@example.com/x",
        "y = x@w.float(), icon@2x.png",
        "@app.route('/home/<name>/x')",
        "https://example.com/home/page/2",
        "cd /home && ls /home/",
        "task-management-system-v2-for-the-whole-team",
        "sk-learn-contrib-some-thing-else",
        "looks for -----BEGIN RSA " + "PRIVATE KEY----- in files",
        "the basic Kubernetes objects, a bearer of news",
        "[redacted key] and [redacted password] and ~/x",
    ],
)
def test_what_is_no_secret_stays(text):
    assert redact(text).text == text
    assert redact(text).counts == {}


MARKS = ["@", "/home/", "://", "password=", "token: ", "sk-", "-----BEGIN ", "[redacted key]", *"~ \n'\"\\=.é"]
PIECES = st.sampled_from([*KEYS.values(), JWT, PEM, SSH, *(case[1] for case in CASES), *MARKS])


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.one_of(PIECES, st.text(max_size=12)), max_size=12).map("".join))
def test_redacting_twice_changes_nothing(text):
    once = redact(text)
    assert redact(once.text).text == once.text


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.sampled_from(sorted(KEYS.values())), st.text(max_size=40), st.text(max_size=40))
def test_no_key_survives_whatever_stands_around_it(key, before, after):
    assert key not in redact(f"{before} {key} {after}").text


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.text(st.characters(categories=("Ll", "Zs", "Nd")), max_size=200))
def test_plain_words_and_numbers_stay(text):
    assert redact(text).text == text


def test_long_texts_are_searched_like_short_ones():
    """Long ones pass a filter first; a secret in every place of a long text is found."""
    filler = "The parser reads a line, then the next. " * 300
    for name, text, _ in CASES:
        long = f"{filler}\n{text}\n{filler}"
        assert len(long) > 4096
        assert redact(long).counts == redact(f"\n{text}\n").counts, name
    assert len(hinted(filler)) < len(RULES) / 3
    assert redact("İ" * 5000 + " PASSWORD=hunter2").text.endswith(" PASSWORD=[redacted password]")


@pytest.mark.parametrize(
    "worst",
    [
        *("@", "a@", "a.", "a@" + "b." * 9, "password=", "password=a1b2c3(", 'password: "x', "token", "token: aa11bb("),
        *("api_key=", "://", "a://b:c", "/home/", "c:\\users\\", "sk-", "sk-aA1", "eyJ", "eyJaaaaaaaa.", "bearer a1"),
        *("-----BEGIN ", "-----BEGIN " + "PRIVATE KEY-----\nabcdefghijklmnopq"),
    ],
)
def test_no_text_takes_more_than_linear_time(worst):
    """A rule that looked again from every place would run for hours here."""
    once = redact((worst * 2_000_000)[:2_000_000]).text
    assert redact(once).text == once


def test_what_stood_beside_a_secret_is_seen_once_that_is_gone():
    once = redact(f"token: {RANDOM}-I/home/joe/includecookie={JWT};")
    assert once.text == "token: [redacted token]~/includecookie=[redacted token];"
    assert once.counts == {"token": 2, "home": 1}


@pytest.mark.parametrize("before", range(6))
def test_a_needle_across_the_edge_of_what_is_looked_at_at_once_is_found(before):
    text = " " * (secrets._CHUNK - before) + KEYS["google"] + " " * 9
    assert redact(text).counts == {"key": 1}
