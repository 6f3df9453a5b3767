"""What secrets look like: rules, each with a needle by which its places are found.

A pattern begins with its needle, in plain letters, and what stands before that is looked at afterwards
(`sk-(?<![a-z]sk-)`): so `re` seeks it at the speed of a text search. All repeats are bounded or possessive. The group
`secret`, where a pattern has one, is what goes; the rest of the match stays.

The forms of keys are those that their issuers print; most are listed at
https://docs.github.com/en/code-security/secret-scanning/introduction/supported-secret-scanning-patterns
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["RULES", "Rule", "hinted", "lowered"]

_SHORT = 4096
_CHUNK = 1 << 17
_LOCAL_PART = 64


@dataclass(frozen=True)
class Rule:
    """One kind of secret.

    Attributes:
        kind: What it is counted as.
        needle: Where the pattern begins; for a mail address the @ in it.
        pattern: Matches at a needle.
        instead: What is put in its place.
        folded: Case makes no difference: needle and pattern are meant for the text in lower case.
    """

    kind: str
    needle: str
    pattern: re.Pattern[str]
    instead: str
    folded: bool = False

    def found(self, text: str) -> Iterator[tuple[int, int]]:
        """Start and end of each secret of this kind, in order, without overlap. A folded rule wants `lowered(text)`."""
        if self.needle not in text:
            return
        group = "secret" if "secret" in self.pattern.groupindex else 0
        done = 0
        for match in self.pattern.finditer(text):
            start, end = match.span(group)
            if self.kind == "mail":
                start = _local_part(text, start, done)
                if text[start:end].startswith("git@"):
                    continue
            done = end
            yield start, end


def lowered(text: str) -> str:
    """Lower case with every character in its place: İ alone would become two."""
    return text.replace("\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}", "I").lower()


def _local_part(text: str, at: int, after: int) -> int:
    """Where the name before an @ begins."""
    begin = at
    first = max(after, at - _LOCAL_PART)
    while begin > first and (text[begin - 1].isalnum() or text[begin - 1] in "_.%+-"):
        begin -= 1
    return begin


def _rule(
    kind: str, needle: str, rest: str, before: str = "[A-Za-z0-9]", instead: str = "", folded: bool = False
) -> Rule:
    """A rule of `needle` where no `before` precedes it ("" = whatever does) and `rest` follows."""
    begin = re.escape(needle)
    alone = f"(?<!{before}{begin})" if before else ""
    return Rule(kind, needle, re.compile(begin + alone + rest), instead or f"[redacted {kind}]", folded)


_MIXED = r"(?=[A-Za-z_-]{0,40}[0-9])(?=[a-z0-9_-]{0,60}[A-Z]|(?:or-v1-)?[0-9a-f]{32})"
_KEYS = [
    _rule("key", needle, rest)
    for needle, rest in (
        ("sk-", rf"{_MIXED}[A-Za-z0-9_-]{{20,}}+"),  # OpenAI, Anthropic and those who took after them
        *((f"gh{kind}_", r"[A-Za-z0-9]{30,}+") for kind in "pousr"),
        ("github_pat_", r"[A-Za-z0-9_]{40,}+"),
        *((f"gl{kind}-", r"[A-Za-z0-9_.-]{20,}+") for kind in ("pat", "dt", "rt", "ptt", "cbt", "soat", "agent")),
        *((f"A{kind}IA", r"[A-Z0-9]{16}(?![A-Za-z0-9])") for kind in "KS"),  # AWS access key ids
        ("AIza", r"[A-Za-z0-9_-]{35,}+"),
        ("ya29.", r"[A-Za-z0-9_-]{20,}+"),
        ("GOCSPX-", r"[A-Za-z0-9_-]{20,}+"),
        ("xox", r"[abeoprs](?:\.xox[a-z])?-[A-Za-z0-9-]{10,}+"),  # Slack
        ("xapp-", r"[A-Za-z0-9-]{20,}+"),
        ("hooks.slack.com/services/", r"[A-Za-z0-9/_-]{20,}+"),
        *((f"{kind}k_{mode}_", r"[A-Za-z0-9]{16,}+") for kind in "sr" for mode in ("live", "test")),  # Stripe
        ("whsec_", r"[A-Za-z0-9+/]{20,}+"),
        ("npm_", r"[A-Za-z0-9]{36,}+"),
        ("pypi-", r"[A-Za-z0-9_-]{50,}+"),
        ("hf_", r"[A-Za-z0-9]{30,}+"),
        ("SG.", r"[A-Za-z0-9_-]{16,64}\.[A-Za-z0-9_-]{16,}+"),
        ("dop_v1_", r"[a-f0-9]{40,}+"),
        ("lin_api_", r"[A-Za-z0-9]{30,}+"),
    )
]
_GAP = r"(?:\s|\\[nr])"  # a line's end, or how JSON writes it
_ARMOURED = [
    _rule(
        "private key",
        "-----BEGIN ",
        r"[A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----"
        rf"(?:{_GAP}++(?:[A-Za-z-]{{3,20}}: [^\n\\]{{1,80}}|[A-Za-z0-9+/=]{{16,}}+))++"
        rf"(?:{_GAP}*+[A-Za-z0-9+/=]{{1,15}}+)?+(?:{_GAP}*+-----END [A-Z0-9 ]{{0,40}}-----)?+",
        before="",
    ),
    *(
        _rule("ssh key", f"{algorithm} AAAA", r"[A-Za-z0-9+/]{40,}+={0,3}")
        for algorithm in ("ssh-rsa", "ssh-ed25519", "ssh-dss", *(f"ecdsa-sha2-nistp{n}" for n in (256, 384, 521)))
    ),
]
_CARRIED = [
    _rule("token", "eyJ", r"[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_-]{8,}+(?:\.[A-Za-z0-9_-]*+){1,3}"),  # JWT
    _rule(
        "login",
        "://",
        r"(?!git@)(?P<secret>[^\s/@:?#\"'`<>\[\](){}$\\]{1,256}(?::[^\s/@\"'`<>\[\]{}$\\]{0,256})?)@(?=[\w\[])",
        before="",
    ),
    _rule("token", "bearer ", r" ?(?P<secret>(?=[a-z._~+/-]{0,64}\d)[a-z0-9._~+/-]{16,}+={0,2})", folded=True),
    _rule("token", "basic ", r"(?P<secret>(?=[a-z+/]{0,64}\d)[a-z0-9+/]{16,}+={0,2})(?![\w.(-])", folded=True),
]


def _assigned(kind: str, needle: str, quoted: str, bare: str, owners: str = "") -> Rule:
    """`NEEDLE=value`, `"needle": "value"`, `needle: value`, `--needle value`."""
    flag = rf"(?:(?<=--{needle})|(?<=--api-{needle}))[ ]{{1,4}}"
    between = rf"{owners}\d?(?:(?:\\?[\"'`])?[ \t]{{0,4}}(?::=|=>|={{1,2}}|:)[ \t]{{0,4}}|{flag})"
    value = rf"(?:\\?(?P<quote>[\"'`]))?+(?P<secret>(?(quote)(?:{quoted})(?=\\?(?P=quote))|{bare}))"
    return _rule(kind, needle, between + value, before="", folded=True)


_NO_STARS = r"(?![*.x•_-]+\\?[\"'`])"
_NO_NAME = r"(?![a-z_-]++[+]?\d{0,2}(?![\w/+-]))"  # token_2 and token+1 are code, no tokens
_LETTER_AND_DIGIT = r"(?=[a-z_/+.:-]{0,64}[0-9])(?=[0-9_/+.:-]{0,64}[a-z])"
_OWNING = ("api", "access", "secret", "private", "account", "auth")
_OWNERS = [f"{owner}{mark}" for owner in _OWNING for mark in ("", "_", "-")]
_PASSWORDS = [
    _assigned(
        "password",
        needle,
        _NO_STARS + r"[^\s\"'`\\<>{}$\[\]]{4,}+",
        r"(?![/.~\\-])(?=[a-z_]{0,40}[0-9!@#%^+])[\w!@#%^+/-]{6,}+={0,2}(?![.(\[=])",
    )
    for needle in ("password", "passwd", "passphrase", "pwd")
]
_TOKENS = [
    _assigned(
        "token",
        needle,
        _LETTER_AND_DIGIT + _NO_NAME + r"[^\s\"'`\\<>{}$\[\]()]{8,}+",
        r"(?![/.~\\-])" + _LETTER_AND_DIGIT + _NO_NAME + r"[\w/+-]{8,}+={0,2}(?![.(\[{=:])",
        owners,
    )
    for needle, owners in (
        ("token", ""),
        ("secret", ""),
        ("key", f"(?:{'|'.join(f'(?<={owner}key)' for owner in _OWNERS)})"),
    )
]

_MAIL = Rule(
    "mail",
    "@",
    re.compile(
        r"@(?<=[\w.%+-]@)(?!v?\d+\.\d)(?![a-zA-Z0-9.-]{1,64}\.(?:png|jpe?g|svg|gif|webp|ico|css|js|json|whl)\b)"
        r"(?:[a-zA-Z0-9][a-zA-Z0-9-]{0,62}\.){1,8}[a-zA-Z]{2,24}(?![\w(\[-])"
    ),
    "[redacted mail]",
)
_NAME = r"(?!(?:linuxbrew|[sS]hared|[pP]ublic)\b)\w(?:[\w.-]{0,62}\w)?(?!\w)"
_HOMES = [
    *(
        _rule("home", f"{drive}:{slash}users{slash}", _NAME + end, before=r"\w", instead=home, folded=True)
        for end, home in ((r"[\\/]{1,2}", "~/"), ("", "~"))
        for drive in "cde"
        for slash in ("\\", "\\\\", "/")
    ),
    *(
        _rule(
            "home",
            folder,
            rf"(?:(?<=file://{folder})|(?<=-[ILFB]{folder})|(?<=/[cd]{folder})|(?<![\w.~/@}}>*-]{folder})){_NAME}",
            before="",
            instead="~",
        )
        for folder in ("/home/", "/Users/")
    ),
]

RULES: tuple[Rule, ...] = (*_ARMOURED, *_KEYS, *_CARRIED, *_PASSWORDS, *_TOKENS, _MAIL, *_HOMES)
"""In the order in which they are applied: what is known for sure first."""

_FACTORS = tuple(np.uint16(factor) for factor in (31421, 6927, 2749))


def _codes(raw: bytes) -> npt.NDArray[np.uint16]:
    """A 16-bit code of each three bytes in a row: n bytes → (n - 2,), or (0,)."""
    wide: npt.NDArray[np.uint16] = np.frombuffer(raw, np.uint8).astype(np.uint16)
    if len(wide) < 3:
        return wide[:0]
    found: npt.NDArray[np.uint16] = wide[:-2] * _FACTORS[0] + wide[1:-1] * _FACTORS[1] + wide[2:] * _FACTORS[2]
    return found


_NEEDLE_CODES = [_codes(rule.needle.lower().encode()) for rule in RULES]


def hinted(text: str) -> list[Rule]:
    """Rules whose needle may stand in `text`, in order: all three letters in a row of it do, in any case."""
    if len(text) < _SHORT:
        return list(RULES)
    raw = text.encode("utf-8", "surrogatepass").lower()
    seen = np.zeros(1 << 16, np.bool_)
    for start in range(0, len(raw), _CHUNK):
        seen[_codes(raw[start : start + _CHUNK + 2])] = True
    return [rule for rule, codes in zip(RULES, _NEEDLE_CODES, strict=True) if seen[codes].all()]
