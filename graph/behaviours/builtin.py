"""Built-in behaviours as cues in general English: how one takes a direction, turns it, looks first, or acts.

A cue says only how a response sounds; a label also needs the outcome that belongs to it
(`graph.behaviours.patterns.classify`).
"""

from graph.behaviours.modes import MODE_AWARENESS
from graph.schema import Behaviour


def _any(*phrases: str) -> str:
    """A group that matches one of the phrases (separated by commas) as whole words."""
    words = [word.strip() for phrase in phrases for word in phrase.split(",")]
    return rf"\b(?:{'|'.join(words)})\b"


_LOOK = _any(
    "see, look, check, read, find out, ask, hear, list, measure, verify, inspect, confirm, review, understand",
    "reproduce, count, trace, compare, diff, grep, search, test, try, know, make sure, have a look",
    "take a look, dig into, (?:go|walk) through",
)
_ACTED = _any(
    "added, adjusted, amended, announced, applied, approved, archived, banned, blocked, booked, boosted",
    "bought, built, bumped, cancell?ed, changed, cleaned, cleared, closed, committed, configured",
    "consolidated, converted, copied, corrected, created, cut, deleted, deployed, disabled, dropped, emailed",
    "emptied, enabled, enforced, erased, exported, extended, filled, finished, fixed, flipped, flushed",
    "forced, froze, generated, imported, increased, inserted, installed, killed, launched, locked, loosened",
    "lowered, made, marked, merged, migrated, moved, muted, normali[sz]ed, opened, ordered, overwrote, paid",
    "patched, pinned, pointed, posted, promoted, provisioned, pruned, published, purged, pushed, put, raised",
    "ran, reassigned, rebased, rebooted, rebuilt, redeployed, reduced, refactored, refunded, reindexed",
    "released, reloaded, removed, renamed, renewed, reorgani[sz]ed, replaced, reset, resized, resolved",
    "restarted, restored, restructured, retrained, reverted, revoked, reworked, rewrote, rewritten, rolled",
    "rotated, saved, scaled, scheduled, scrubbed, sent, set, shipped, shortened, shut, silenced, skipped",
    "sorted, split, squashed, started, stopped, submitted, swapped, switched, terminated, tightened, took",
    "translated, trimmed, truncated, turned, unlocked, unsubscribed, updated, upgraded, uploaded, wiped",
    "wired, wrote",
)
_OUT_THERE = _any(
    "committed, deployed, force-pushed, live, merged, published, pushed, released, restarted, sent, shipped",
)
_YES = _any(
    "right, sure, ok, okay, yes, yep, yeah, got it, will do, on it, understood, of course, certainly",
    "absolutely, agreed, noted, fine, alright, all right, done, makes sense, good, great, lovely, perfect",
    "excellent, fair enough, fair point, true, thanks, thank you, very well, gladly, happy to, with pleasure",
    "no (?:problem|trouble|objections?|argument), all set, you're right, deal, consider it done",
)
_BETTER = _any(
    "better, cleaner, clearer, safer, simpler, easier, faster, quicker, nicer, wiser, cheaper, smarter, neater",
    "tidier, kinder, friendlier, gentler, lighter, smaller, shorter, more \\w+",
)
_THIS = _any("the, it, that, them, all, both, an?, this, these, those, our, your, everything")
_MIGHT = _any("(?:would|could|should)(?:n't)?, might, may")
_WAY = _any(
    "way, option, approach, idea, fit, choice, solution, name, tool, place, plan, bet",
)
_DO = _any(
    "do, use, go, keep, follow, take, stick, switch, make, put, write, add, drop, leave, start, pull, move",
    "change, set",
)

LISTENING = Behaviour(
    name="listening",
    description="takes the direction that was given / suggests an alternative",
    positive="takes the direction and does it the way it was asked for",
    negative="suggests something else than what was asked for",
    positive_cues=(
        rf"^\W*(?:(?:ha|ah|oh)\W+)?{_YES}(?!,? (?:but|though|however)\b)",
        r"^[^.?!]{0,40}, (?:got it|okay|ok|yes|all set|very well|understood)\b",
        r"^[^.?!,]{0,40}\bit is\b(?=[,.]|$)",
        rf"\bI'll (?:just )?{_DO}",
        r"\b(?:as|like|the way|just how|exactly (?:what|how)) you (?:said|ask|want|wish|like|put|describe|say|prefer)",
        rf"^\W*let me {_DO}",
        rf"^\W*(?!considering|thinking|regarding|assuming|having|being|\w+thing\b)\w+ing {_THIS}",
        r"^\W*(?:doing|using|switching|going with|starting|keeping)\b",
        r"\b(?:right|straight) away\b|\bright now\b|\byour (?:way|call|wording|version|choice) it is\b",
    ),
    negative_cues=(
        r"\bactually\b",
        r"\bI(?:'d| would)? (?:\w+ )?(?:suggest|recommend|propose|argue|advise|rather|sooner|prefer|go (?:with|for))\b",
        r"\b(?:we|you|it|that|this) (?:should|could|might|may) (?:\w+ )?(?:instead|rather|also|want to|consider)\b",
        r"\bI (?:\w+ )?(?:think|believe|feel|find)\b.{0,80}\b(?:should|would|could|better|too|overkill|fits?)\b",
        r"\bI wonder (?:if|whether)\b|\bdon't you think\b|\bworth (?:trying|considering|a (?:try|look|thought))\b",
        rf"\b(?:maybe|perhaps|honestly|personally)\b.{{0,40}}{_MIGHT}|{_MIGHT}.{{0,60}}\b(?:maybe|perhaps)\b",
        r"\b(?:how|what) about\b|\bwhat if\b|\bwhy (?:not|don't we)\b",
        r"\b(?:have|did) you (?:consider|think|thought|tr(?:y|ied)|look)|\bconsider \w+ing\b",
        rf"\b(?:would|might|could|may|is|are|seems?|feels?|works?|reads?|fits?|it'd) (?:\w+ ){{0,2}}{_BETTER}",
        rf"{_MIGHT}[^.?!]{{0,60}}\b(?:be|do|read|work|fit|look|show|land) (?:\w+ ){{0,2}}{_BETTER}",
        rf"\b(?:an?|one|much|far|even) {_BETTER} {_WAY}",
        r"\binstead\b(?! of)|\balternative(?:ly|s)?\b|\bnormally\b|\bbest practice\b|\bmost (?:people|teams)\b",
        r"\b(?:are you sure|do (?:we|you) really|is that really|(?:would|should|could)n't (?:it|we|you))\b",
        r"\b(?:one|another) (?:thought|way|option|idea)\b|\bmy (?:advice|suggestion|preference)\b",
    ),
)

NOT_RUSHING = Behaviour(
    name="not_rushing",
    description="looks first or asks / acts at once",
    positive="looks or asks before it acts",
    negative="acts at once and tells afterwards",
    positive_cues=(
        rf"\blet (?:me|us) (?:\w+ )?{_LOOK}",
        r"\b(?:may|can|could|shall|should|might) (?:I|we|you)\b[^.!]*\?|\bif I may\b",
        rf"\bI(?:'d| would|'ll| will| want| need)(?: \w+){{0,2}}(?: to)?(?: first)? {_LOOK}",
        r"\b(?:do|did|would|will) you (?:want|mean|prefer|like|need|have|know|remember)\b[^.!]*\?",
        rf"^\W*{_any('which, what, who, whose, when, where, how, is, are, was, does, do, did, has, have')}[^.!]*\?",
        r"\bbefore (?:I|we|any|anything|doing|touching|changing|deleting|removing|running)\b",
        rf"\bfirst\b[^.!?]*{_LOOK}|{_LOOK}[^.!?]*\bfirst\b",
        r"\bhaven't (?:touched|changed|run|sent|deleted|started)\b",
        r"\bnothing (?:is|was|has been) (?:changed|touched|run|sent)\b|\bdry[- ]run\b",
    ),
    negative_cues=(
        rf"^\W*(?:(?:ok|okay|done|right|sure|yes)\W+)?(?:I(?:'ve| have)? )?(?:(?:already|just|also|now) )?{_ACTED}",
        rf"\bI(?:'ve| have| just| already| went ahead and) (?:\w+ )?{_ACTED}",
        r"\b(?:went|gone|going) ahead\b|\b(?:all|it's|that's) done\b|^\W*(?:all )?done\b|, (?:done|finished|all set)\b",
        rf"\b(?:already|now) {_OUT_THERE}|\b(?:already|now) (?:running|gone|in production)\b",
        rf"(?:,| and) (?:then )?{_OUT_THERE}",
    ),
)

BUILTIN: tuple[Behaviour, ...] = (LISTENING, NOT_RUSHING, MODE_AWARENESS)
