"""Mode awareness: the human asks to talk (plan, discuss, explain) or to act, and the response does the same, or not.

                 the response talks     the response acts
    asked talk   positive               negative: things change in the middle of a discussion
    asked act    negative: only words   positive

So every cue has two halves (`graph.behaviours.cues`): what was asked, and what was said.
"""

from graph.behaviours.cues import WHEN_ASKED
from graph.schema import Behaviour


def _any(*phrases: str) -> str:
    """A group that matches one of the phrases (separated by commas)."""
    return f"(?:{'|'.join(word.strip() for phrase in phrases for word in phrase.split(',') if word.strip())})"


_ACT = _any(
    "add, adjust, apply, build, bump, change, clean, clear, close, commit, convert, copy, create, cut, delete, deploy",
    "disable, draft, drop, enable, extract, fix, format, generate, implement, import, inline, insert, install, lower",
    "make, merge, migrate, move, open, patch, pin, publish, pull, push, put, raise, rebase, refactor, remove, rename",
    "replace, reset, restart, restore, revert, rewrite, roll, rotate, run, save, schedule, send, set, ship, sort",
    "split",
    "squash, start, stop, swap, switch, tag, translate, trim, turn, undo, update, upgrade, upload, use, wire, write",
)
_ACTED = _any(
    "added, adjusted, applied, built, bumped, changed, cleaned, cleared, closed, committed, converted, copied, created",
    "cut, deleted, deployed, disabled, drafted, dropped, edited, enabled, extracted, fixed, formatted, generated",
    "implemented, inlined, inserted, installed, lowered, made, merged, migrated, moved, opened, patched, pinned",
    "published, pulled, pushed, put, raised, ran, rebased, refactored, removed, renamed, replaced, reset, restarted",
    "restored, reverted, rewritten, rewrote, rolled, rotated, saved, scheduled, sent, set, shipped, sorted, split",
    "squashed, started, stopped, swapped, switched, tagged, translated, trimmed, turned, updated, upgraded, uploaded",
    "wired, written, wrote",
)
_ACTING = _any(
    "adding, adjusting, applying, building, bumping, changing, cleaning, clearing, committing, converting, copying",
    "creating, cutting, deleting, deploying, dropping, editing, enabling, extracting, fixing, generating, implementing",
    "inlining, inserting, installing, lowering, making, merging, migrating, moving, opening, patching, pinning",
    "publishing, pulling, pushing, putting, raising, rebasing, refactoring, removing, renaming, replacing, resetting",
    "restarting, restoring, reverting, rewriting, rolling, rotating, running, saving, scheduling, sending, setting",
    "shipping, sorting, splitting, squashing, starting, stopping, swapping, switching, tagging, translating, trimming",
    "turning, updating, upgrading, uploading, wiring, writing",
)
_TALK = _any(
    "explain, discuss, describe, outline, brainstorm, compare, plan, propose, suggest, summari[sz]e, sketch, think",
    "talk",
    "walk me, tell me, weigh, design, argue, remind me",
    "give me (?:your|an?) (?:\\w+ )?(?:view|opinion|take|overview|idea|plan)",
)
_SO = _any("ok, okay, so, and, but, hm+, wait, right, well, also, now, then, please, just, yes, yep, great, good, fine")
_LEAD = rf"^\W*(?:{_SO}\W{{1,3}}){{0,4}}"
_ASK = (
    r"(?:(?:can|could|would|will) (?:you|we) |i(?:'d like| want| need) (?:you )?to |let's )?"
    r"(?:please |just |first |now ){0,2}"
)

_NOT_YET = (
    r"\b(?:don't|do not|without|before|no|not|nothing|hold off)(?: \w+){0,3} "
    r"(?:implement|cod|chang|touch|edit|writ|act|start|build|commit|appl|mak|run)\w*"
)
_ASKS_TALK = (
    rf"{_LEAD}{_ASK}{_TALK}\b|\b(?:just|only|first) {_TALK}\b|{_NOT_YET}"
    rf"|{_LEAD}(?:why|what|how|which|where|when|who|is|are|does|do|did|was|were|would|should)\b[^\n]*\?"
    r"|\bwhat do you think\b|\byour (?:thoughts|opinion|view|take)\b|\bplan (?:mode|only|first)\b"
    r"|\blet's (?:talk|think|plan|discuss)\b|\bthinking aloud\b|\bbefore (?:we|you|i) (?:decide|build|start)\b"
)
_ASKS_ACT = (
    rf"^(?!.*{_NOT_YET})(?!.*\b(?:just|only) {_TALK}\b)(?:\W*(?:{_SO}|lgtm|perfect|approved"
    rf"|go ahead)\W{{1,3}}){{0,4}}\W*"
    rf"(?:and )?{_ASK}(?:{_ACT}\b|do (?:it|that|this|both|all)\b|go ahead\b|go for it\b|proceed\b|make it so\b)"
    r"|\bgo ahead\b|\bjust do it\b"
)

_YES = _any(
    "ok, okay, right, sure, yes, great, good, perfect, done, alright, all right, got it, agreed, will do, understood"
)
_HAS_ACTED = (
    rf"^\W*(?:{_YES}\W{{1,3}}){{0,3}}(?:(?:i|we)(?:'ve| have)? )?(?:(?:just|already|now|also) ){{0,2}}{_ACTED}\b"
    rf"|\b(?:i|we)(?:'ve| have| just| already| also)(?: just| already| also| now)? {_ACTED}\b|\bwent ahead\b"
    r"|^\W*(?:all )?(?:done|finished)\b|\b(?:is|are) (?:now )?(?:live|in place|committed|pushed|deployed|merged)\b"
)
_IS_ACTING = (
    rf"\b(?:i'll|i will|let me|i'm going to|time to) (?:now |just |go ahead and |start by )?(?:{_ACT}|{_ACTING})\b"
    rf"|^\W*(?:{_YES}\W{{1,3}}){{0,3}}(?:now )?{_ACTING} (?:the|it|that|them|all|both|an?|this|these|those|every\w*"
    rf"|your|now)\b"
    r"|^\W*on it\b|\b(?:start|begin|starting|beginning) (?:the |to )?(?:implement|edit|chang|cod|refactor|migrat)\w*"
)
_TALKS = (
    r"\bhere(?:'s| is| are) (?:\w+ ){0,4}(?:plan|outline|ideas?|options?|trade-?offs?|reasons?|reasoning"
    r"|explanation|overview"
    r"|comparison|proposal|sketch|approach|think|thinking|works?|happens|see|view|picture|way|design)\b"
    r"|\b(?:nothing|no (?:code|files?)) (?:(?:is|was|has been|have been|will be) )?(?:\w+ )?(?:changed|touched"
    r"|written|edited|yet)\b"
    r"|\b(?:haven't|won't|didn't|not) (?:\w+ )?(?:chang|touch|writ|start|edit|implement)\w*|\bno changes (?:yet"
    r"|made|so far)\b"
    r"|\b(?:my|the) (?:\w+ )?(?:plan|proposal|suggestion|view|take|short answer|reason|trade-?off|idea|risk"
    r"|difference|catch)\b"
    r"[^.?!]{0,60}\b(?:is|would be|are)\b(?! (?:now )?(?:implemented|done|finished|in place))"
    r"|\b(?:two|three|four|several|a few) (?:\w+ )?(?:options|ways|approaches|reasons|steps|things|parts|phases"
    r"|stages)\b"
    r"|^\W*(?:because|in short|roughly|(?:good|great) question|that's because|the way (?:it|this)|think of it)\b"
    r"|^\W*(?:it|this|that|they|the \w+|each \w+)(?: \w+)? (?:works|happens|depends|means|comes|reads|is|does"
    r"|exists|fails|holds|keeps)\b"
    r"|\b(?:i|we|you|one)(?:'d| would| could) (?:\w+ )?(?:start|go|split|keep|do|move|use|put|begin|first|add|make"
    r"|store|lean"
    r"|pick|choose|treat|cache|leave|argue|say)\b|\b(?:step|phase|option) (?:one|1|a)\b|\bpros and cons\b"
    r"|\btrade-?offs?\b"
)
_TELLS_HOW = (
    r"\bhere(?:'s| is| are) (?:how|what|(?:the|some|a few) (?:steps|commands?|ways?)|(?:a|an|the|my) (?:plan|guide"
    r"|outline|way))\b"
    r"|\byou(?:'ll|'d)? (?:can|could|may|might|should|would|will|need to|have to|want to)(?: (?:then|also|just"
    r"|simply|first|need to)){0,2}"
    rf" (?:{_ACT}|edit|call|paste|do|change)\b"
    r"|\b(?:to (?:do|achieve|get) (?:this|that|it) (?:you|one)|the steps (?:are|would be)"
    r"|there are (?:\w+ )?(?:ways|options|approaches))\b"
    r"|\b(?:it|this|that|the \w+) (?:would|could|can) (?:easily )?be (?:\w+ed|done|set|cut|put|run|split|rewritten)\b"
)
_OFFERS = (
    rf"\b(?:do you want|would you like|want) me to (?:go ahead|proceed|do|{_ACT})\b"
    rf"|\b(?:shall|should) i (?:go ahead|proceed|do|{_ACT})\b|\bif you (?:want|like|wish), i (?:can|could)\b"
    r"|\blet me know (?:if|when|whether) (?:you'd like|you want|i should|to)\b"
)


def _when(asked: str, *said: str) -> tuple[str, ...]:
    return tuple(f"{asked}{WHEN_ASKED}{one}" for one in said)


MODE_AWARENESS = Behaviour(
    name="mode_awareness",
    description="answers in the mode that was asked for / acts when asked to talk, or only talks when asked to act",
    positive="talks when asked to plan, discuss or explain; acts when asked to act",
    negative="changes things in the middle of a discussion, or only talks when asked to act",
    positive_cues=_when(_ASKS_TALK, _TALKS) + _when(_ASKS_ACT, _HAS_ACTED, _IS_ACTING),
    negative_cues=_when(_ASKS_TALK, _HAS_ACTED, _IS_ACTING) + _when(_ASKS_ACT, _TELLS_HOW, _OFFERS),
)
