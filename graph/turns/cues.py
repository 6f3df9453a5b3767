"""Cues in general English: regular expressions over lower-cased prose, and over the end of the agent's text.

The list is short and general on purpose: a few hundred labelled turns can fit the weights of few features only. What
each one weighs stands in graph/turns/weights.json; no cue decides alone.
"""

import re
from collections.abc import Callable

EARLY = 160
"""Characters within which a cue stands early."""


def cue(pattern: str) -> Callable[[str], float]:
    """1 where the cue stands early, less where it stands late: a stance is taken at the beginning."""
    search = re.compile(pattern, re.MULTILINE).search

    def strength(text: str) -> float:
        found = search(text)
        if found is None:
            return 0.0
        return 1.0 if found.start() < EARLY else 0.5

    return strength


_IT = r"(?:that|this|it|those|these|they|there)"

# Cues at the beginning, fillers such as "hmm, ok so" passed over.
OPENING: dict[str, Callable[[str], float]] = {
    "no_first": cue(r"\A(?:no+|nope|nah|neither|none of|nein|non|nee|nej)\b(?! (?:problem|worries|objections?|idea))"),
    "stop_first": cue(r"\A(?:stop|wait|hold on|hang on|whoa|hey stop|halt|cancel|abort|never ?mind)\b"),
    "not_first": cue(
        r"\A(?:(?:please )?(?:do not|don't|never|stop \w+ing)\b|not (?!sure|bad|a bad)|let's not|leave (?:it|the)\b"
        r"|(?:can|could) (?:you|we) (?:please )?(?:not|stop)\b)"
    ),
    "but_first": cue(r"\A(?:but|however|although|except|yet|still|almost|mostly)\b"),
    "actually_first": cue(
        r"\A(?:actually|again|i (?:meant|said|asked|wanted|thought|checked|just (?:checked|looked|tried))|as i said"
        r"|wrong|other way|what i (?:mean|want|asked)|let me rephrase|didn't (?:we|i)|you (?:\w+ )?(?:did|forgot"
        r"|missed|broke|changed|removed|added|deleted|only|should|need)|you're|you are)\b"
    ),
    "doubt_first": cue(
        r"\A(?:isn't|aren't|wasn't|weren't|shouldn't|wouldn't|couldn't|can't|doesn't|don't|didn't|why not|why don't"
        r"|do we (?:even|really) need|(?:is|are) [^.?!\n]{0,40}\breally\b|did you (?:even|really|actually)|really\b"
        r"|seriously|how about (?:this|we|the)|what about (?:the|a)|why (?:did|are|would|have|is|do|does) (?:you|we"
        r"|this|that|it|there)|why (?:isn't|doesn't|aren't|wasn't|didn't))\b"
    ),
    "replaces_first": cue(
        r"\A(?:instead|rather|i(?:'d| would| had)? ?(?:prefer|rather|replace|change|expect|not|use)"
        r"|use\b.*\b(?:instead|not|rather)|drop\b|skip\b|revert|undo|roll|put (?:it|this|that|them|the)\b.*\bback"
        r"|get rid|remove (?:it|this|that|them)\b|keep (?:the|it)|rename (?:it|this)|too\b|only\b)"
    ),
    "goes": cue(
        r"\A(?:(?:just )?(?:do|fix|implement|apply|add|use|try|keep|start|go|run|ship|merge|make) (?:it|that|this"
        r"|them|those|these|both|all|so|ahead|for it|with|nothing)\b(?! (?:in|for|to|as|into|when|instead)\b)"
        r"|(?:make|apply|do) (?:that|those|these|the|this) (?:suggested |proposed )?changes?\b"
        r"|implement the (?:following )?plan|go\b(?! (?:to|back|through|over))|start\b(?! (?:a|the|two))|proceed"
        r"|continue|carry on|go on|do so|please do|(?:both|all)(?: of (?:them|it|those))?(?: please)?(?:$|[.,!])"
        r"|(?:just )?fix(?: please)?$|absolutely|definitely|agreed?\b|approved|of course|for sure|works for me"
        r"|fine\b|your call|sgtm|\+1|(?:i'm )?(?:ok|okay|fine|happy) with|whatever you)"
    ),
    "lets": cue(
        r"\A(?:let's|lets|let us|implement|go with|do (?:nothing|the|what)|i(?:'d| would)? ?(?:like (?!to)|go |vote"
        r"|agree|concede|suppose))(?! ?(?:not|see|look|leave|skip|park|postpone|defer|say|work|try something|move"
        r"|check|summari|write|talk|discuss|recap|assume|take a|remove|drop|rename|have a|first)\w*\b)"
    ),
    "choice": cue(
        r"\A(?:(?:do|implement|pick|choose|use|take|go with|let's (?:do|go with|go for|use|try|implement|take)|only"
        r"|just|i(?:'d| would)? ?(?:like|prefer|go (?:with|for)|want|vote for)(?: it to do)?)[\s:]*)?(?:(?:option"
        r"|options|approach|number|variant|choice)? ?[(#]?(?:\d|[a-d]|one|two|three|both)\b[).]?(?= *(?:$|[,;.&+-]"
        r"|it is|and\b|for\b|please|sounds|is|looks|seems|but\b|with\b|then\b|first|yes\b|now\b))|[(]?(?:\d"
        r"|[a-d])[)] |(?:the )?(?:first|second|third|last|latter|former|simple(?:st)?|cleaner|cleanest)(?: (?:one"
        r"|option|two|approach|version|three)\b|(?= *(?:$|[,;.]|please|is fine|sounds|looks))))"
    ),
    "ships": cue(
        r"\A(?:(?:can|could|would|will) you (?:please |now |also )*)?(?:commit|push|merge|ship|release|deploy"
        r"|squash|(?:create|open|make) (?:a|the) (?:draft )?(?:pr|pull request))\b(?! (?:\w+ to \d|conflicts?"
        r"|desc\w*|comment|title|summary|review|message))"
    ),
    "asks_first": cue(
        r"\A(?:what|where|which|who|how|when (?:is|was|are|do|does|did|will|would|should|exactly)|why|is|are|does"
        r"|do (?:we|you|i|they|the|these|those|users|people)|did|was|were|would|will|has|have (?:we|you)|should"
        r"|any)\b"
    ),
    "requests_first": cue(
        r"\A(?:can|could|would|will) (?:you|we|i)\b|\A(?:let's|lets) (?:see|look|say|work|check|move)"
    ),
    "orders_first": cue(
        r"\A(?:add|adjust|align|allow|analy[sz]e|apply|append|ask|assign|audit|benchmark|build|bump|call|center"
        r"|change|check"
        r"|clean|clear|clone|close|collapse|combine|compare|compile|configure|connect|convert|copy|count|create|debug"
        r"|define"
        r"|delete|deploy|describe|design|disable|display|document|download|draft|draw|dump|enable|ensure|evaluate"
        r"|examine"
        r"|execute|explain|explore|export|expose|extend|extract|fetch|fill|filter|find|fix|focus|format|generate|get"
        r"|give|group"
        r"|handle|help|hide|highlight|import|improve|include|increase|initiali[sz]e|inspect|install|integrate|interview"
        r"|investigate|kill|launch|limit|list|load|log|look|make|map|migrate|mock|move|name|narrow|note|open"
        r"|optimi[sz]e|order"
        r"|organi[sz]e|paste|perform|place|plan|populate|port|post|prefer|prepare|print|profile|provide|publish|pull"
        r"|put|read"
        r"|re-?run|rebase|rebuild|record|reduce|refactor|refresh|reload|remove|rename|render|replace|reply|report"
        r"|research"
        r"|reset|resolve|respond|restart|restructure|return|review|rewrite|run|save|scan|search|see (?:if|what|how"
        r"|whether)"
        r"|send|separate|set|show|simplify|sort|spin|split|stage|start (?:a|the|two)|store|style|summari[sz]e|support"
        r"|switch|take"
        r"|tell|test|trace|track|translate|trigger|try|tune|turn|update|upgrade|upload|validate|verify|view|walk|wire"
        r"|wrap|write"
        r"|implement (?:a|the \w+ (?!plan))|next|new|in (?:the|this|\W?\w+/)|here|there(?:'s| is| are| was)(?! (?:no"
        r"|still|an"
        r" error)\b)|i(?:'ve| have| just| do also| also| need| want| updated| pushed| merged)|i'd like to|we (?:have"
        r"|need|had)"
        r"|copilot|npm|git|yarn|docker|make|cargo|pip)\b(?! (?:is|are|was|were|doesn't|isn't|does|did|failed|fails"
        r"|works)\b)"
    ),
}

# Cues anywhere in the prose.
ANYWHERE: dict[str, Callable[[str], float]] = {
    "wrong": cue(
        r"(?:\b(?:not|never)|n't) (?:(?:really|quite|fully|entirely|at all|even) )?(?:right|correct|true|what|how"
        r"|needed|necessary|my|ideal|great|good|nice|useful|quite)\b|\b(?:wrong|incorrect|inaccurate|misleading"
        r"|misunderst\w+|confus(?:ing|ed)|mistake|falsch)\b|\bnot so useful\b|\b(?:makes no|(?:doesn't|does not"
        r"|don't) make) (?:much )?sense\b|\b(?:other|wrong) way (?:a)?round\b|\bout of date\b"
    ),
    "taste": cue(
        r"\b(?:yuck|ugh|ugly|awful|terrible|horrible|hacky|weird|bad(?!')|meh|yikes|hate|sucks|gross|silly|stupid"
        r"|annoying|overkill|over-?\w*complicat\w*|overengineer\w*|unnecessary|noisy|verbose|opaque|fragile"
        r"|redundant|pointless|don't (?:like|love|want)|not a fan|not happy)\b|:\(|😬|🙄|😡|👎|🤦"
    ),
    "too_much": cue(
        r"\btoo? (?:much|many|long|big|complex|complicated|short|small|noisy|verbose|vague|generic|strict|risky)\b"
        r"|\ba lot of code\b|\b(?:don't|do not|no) (?:really |even )?need\b"
    ),
    "should_be": cue(
        r"\b(?:should|must|needs? to|has to|ought to|supposed to) (?:not |only |just |also |still |have |be |do )"
        r"|\bshould\b(?!n't| i\b| we\b)|\bneeds (?!to know|review)|\bshouldn't\b|\bsupposed to\b|\bexpect(?:ed)?\b"
    ),
    "instead": cue(
        r"\binstead\b|\brather than\b|\bwould rather\b|\bi'd rather\b|\bi(?:'d| would) (?:replace|use|prefer|change"
        r"|move)\b|\bi(?:'d| would)? (?:personally |really |rather |much )?prefer\b|\bi would(?:'ve"
        r"| have) (?:thought|liked)\b|\A\w+,? not \w+\Z|, not (?:a|an|the|in|on|only|just)?\b|\bnot \w+, but\b"
        r"|\bas it was\b|\b(?:simply|just) use\b"
    ),
    "undoes": cue(
        r"\b(?:revert|undo|roll(?:ed)? back|roll (?:it|that|this) back)\b|\b(?:remove|take|drop"
        r"|delete)\b[^.?!\n]{0,60}\b(?:again|out)\b|\bput (?:it|this|that|them|the)\b[^.?!\n]{0,40}\bback\b"
        r"|\bget rid of\b|\brename it back\b"
    ),
    "meant": cue(
        r"\bi (?:meant|mean|wanted|asked|said|told)\b|\bwhat i (?:mean|want|meant|wanted|asked)\b|\b(?:my"
        r"|the) question was\b|\bmy question\b|\bas i said\b|\bwe (?:said|agreed|wanted)\b|\bchanged my mind\b"
        r"|\bwhat i(?:'m| am| was) (?:trying|asking|after|looking for)\b|\b(?:the|my) (?:goal|idea|point"
        r"|intention) (?:here )?(?:is|was)\b"
    ),
    "blames": cue(
        r"\byou (?:just |only |also )?(?:forgot|missed|broke|removed|deleted|changed|added|skipped|ignored|used|did"
        r"|didn't|did not|should(?:n't)?|shouldn't|are using|don't|put|wrote|made)\b|\bwhy (?:did|are|would"
        r"|were) (?:you|we)\b|\bwhat (?:are|were|did) you do(?:ing)?\b|\b(?:did|have) you (?:made?|invent\w*"
        r"|guess\w*)\b|\bwe (?:didn't|did not|haven't)\b"
    ),
    "denies": cue(
        rf"\b(?:{_IT}|we|you|i|which|the \w+|users?)(?: \w+)? ?(?:don't|doesn't|isn't|aren't|wasn't|wouldn't|couldn't"
        rf"|won't|can't|cannot|never|not|no longer)\b|{_IT}(?:'s|'re| is| are) (?:not|no|never|just|only)\b"
        r"|\bnone of\b|\bthere(?:'s| is) no\b|\b(?:isn't|not) (?:really )?(?:feasible|valid|possible|enough)\b"
        r"|\bhas the issue\b|\bbreaks?\b"
    ),
    "objects": cue(
        r"\bbut (?:that|this|it|then|the|we|you|isn't|wouldn't|won't|why|what|those|these|now|i)\b"
        r"|\bi don't think\b|\bi doubt\b|\bnot (?:sure (?:about|that|this|it|we|why)|convinced)\b|\bconcern(?:s"
        r"|ed)?\b|\bworr(?:y|ied)\b|\bdisagree\b|\balready\b|\bi thought\b|\bi was able to\b|\bi can (?:do"
        r"|see) it\b|\byou can (?:do|use|get)\b|\bi (?:just )?(?:checked|looked)\b|\blooking at\b|\bdo we (?:even"
        r"|really)\b|\bis a stretch\b|\bmight not\b"
    ),
    "edits": cue(
        r"\bexcept\b|\bnit(?:pick)?\b|\bbut,? (?:i would|please|should|use|make|keep|call|with|without|the)\b"
        r"|\b(?:let's|can) (?:also )?(?:swap|merge|combine|split|drop|remove|skip|shorten)\b|\bwe (?:can|could"
        r"|should) (?:also )?(?:swap|drop|merge|combine|split|skip|remove|simplify)\b|\bcall it\b|\bback to\b"
        r"|\bshorter\b|\bsimpler\b"
    ),
    "declines": cue(
        r"\bleave (?:it|this|that|them) (?:for|out|alone|as)\b|\bnot (?:now|yet|today)\b|\b(?:for a|in the"
        r"|for the) future\b|\banother time\b|\bout of scope\b|\b(?:skip|park|postpone|defer) (?:it|this|that"
        r"|the)\b|\bno thanks\b"
    ),
    "stays": cue(r"\bstill (?!need|want|have to|possible|use(?:ful)?|valid|open|be\b)\w+"),
    "reviews": cue(
        r"\bconsider (?:\w+ing|whether|if|a|the)\b|\bsilently\b|\bshould be (?:updated|changed|corrected|replaced"
        r"|removed|set)\b|\b(?:this|which|that) (?:may|might|could|can) (?:not|cause|lead|lose|break|deadlock)\b"
        r"|\bpotential (?:logic )?(?:issue|bug|race|problem)\b|\bgot (?:this|a|some) (?:feedback|review)\b"
        r"|\breview(?:er)? (?:feedback|comment says)\b|\bthe (?:comment|docstring|current \w+) (?:is|says|does"
        r"|loads)\b|\brace condition\b|\bthis (?:has|is) a\b"
    ),
    "fails": cue(
        r"\b(?:still|now|again)\b[^.?!\n]{0,30}\b(?:fail\w*|broken|error\w*|crash\w*|wrong|empty|blank|shows?"
        r"|showing|displays?|displaying|prints?|gets?|getting|missing|slow|hangs?)\b|\b(?:doesn't|does not|didn't"
        r"|did not|not|isn't) (?:work|working|help|fix|change anything)\b|\bsame (?:error|problem|issue|result"
        r"|thing)\b|\bnothing (?:happens|is|changed)\b|(?<!silently )\b(?:fails|crashes|hangs|is broken|are failing"
        r"|is failing|is red|stays empty)\b|\bgot this error\b|\b(?:ci|lint\w*|tests?|build|pipeline|job"
        r"|deploy\w*)\b[^.?!\n]{0,20}\b(?:fail(?:s|ed|ing|ures?)?|red|broken|errors?)\b|\bi(?:'m| am)? (?:now "
        r"|still )?(?:get|getting|see|seeing)\b[^.?!]{0,30}\b(?:error\w*|nil|null|panic|exception|timeout|warnings?"
        r"|code|quote|\d{3}|undefined|fail\w*)\b|\bcannot (?:use|find|read|open|import|resolve|load)\b"
        r"|\bno such (?:file|module)\b|\bunexpected (?:end|token)\b|\bdoesn't (?:show|appear|load|start|compile"
        r"|build|run|respond|render)\b|\berror:|\bno change\b|geht (?:immer noch )?nicht|marche pas"
        r"|funktioniert nicht|\bthere(?:'s| is) an? \w*\s?error\b|\bwhy (?:am i|can't i|do i|is it not"
        r"|does it not)\b|\bnot recogni[sz]ed\b|\bsomething (?:is|seems|went|looks) (?:wrong|off|broken)\b"
        r"|\bsupposed to (?:look|be like|happen)\b[^.!\n]*\?"
    ),
    "observes": cue(
        r"\bends? up\b|\bi (?:would have |'d have )?expected\b|\bi (?:can't|don't|cannot) see\b|\b(?:is|are"
        r"|be) missing\b|\bseems? (?:off|to be)\b|\b(?:it|list|page|output|table|dashboard|ui) (?:is "
        r"|only )?(?:show(?:s|ing)|displays?|prints?)\b|\bdon't add up\b|\bback (?:to|at) \w*\s?\d+\b|\bis (?:empty"
        r"|blank|slow)\b|\bwhy (?:is|are) the .{1,40} (?:show|\w+ing)\b"
    ),
    "praise": cue(
        r"\b(?:perfect|great|awesome|excellent|brilliant|beautiful|wonderful|amazing|fantastic|super|parfait"
        r"|nice(?:ly)?|love it|i like (?:it|that|this|the)|good (?:job|work|call|catch|point|idea|explanation"
        r"|to go)|well done|sweet|lgtm|looks (?:good|right|great)|all good|sounds good|makes sense|fair (?:point"
        r"|enough)|much better|exactly|correct$|confirmed|(?:it|that|ok|now),? works|works (?:now|great|fine"
        r"|for me)|that fixed|what i wanted|had in mind|you're right)\b|👍|🎉|💯|👌|🚀|❤"
    ),
    "thanks": cue(r"\b(?:thanks|thank you|thx|ty|danke|merci|gracias)\b"),
    "takes": cue(
        r"(?:\A|[,.!;:\n(-] ?|\b(?:please|just|and|then|also|now|so|ok|okay|yes|yeah|you|fine) )(?:do (?:it|that"
        r"|this)|ship it|merge it|push it(?! to)|commit (?:it|this|these|that|the|our)|fix (?:it|that|both)"
        r"|implement (?:it|this))\b|\b(?:go ahead|go for it|go with|please do|let's (?:go|do|implement|use|fix"
        r"|try (?!something))|the way to go|sgtm|sounds like a plan|seems (?:best|the least|fine)|is fine"
        r"|should be fine|that's fine|would be (?:great|awesome|nice|good)|least worst|don't see why not"
        r"|why not,? (?:try|let's))\b"
    ),
}

TAIL = {
    "offers": re.compile(
        r"\b(?:want me to|would you like|should i|shall i|do you want|happy to|let me know if|may i|i can also"
        r"|would you prefer|want to)\b"
    ),
    "options": re.compile(
        r"^[ *#(-]{0,8}(?:\d[.)]|option \w\b|[a-d]\))|\bwhich (?:\w+ )?(?:approach|one|option|would|do|style"
        r"|ones)\b|\bprefer|\boption (?:\d|[a-d])\b",
        re.MULTILINE,
    ),
    "plans": re.compile(
        r"\b(?:plan\b|(?:any|what) (?:tweaks|adjustments|changes|preferences|thoughts)\b|thoughts\?|does (?:this"
        r"|that)\b)"
    ),
    "tests": re.compile(
        r"\b(?:try (?:it|that|again|now|clicking|the|running)|test (?:it|again|the|that)|let me know (?:if|how|what"
        r"|when)|refresh|should now"
        r"|now (?:shows?|works?|displays?|uses?|appears?)|how (?:does|do|is|are) (?:it|the|that|this)"
        r"|give it a (?:try|go)|run `|ready (?:to|for)"
        r"|rebuild|restart|check (?:it|again|if|whether)|you (?:should|can) (?:now )?(?:see|test|try|run|access"
        r"|open))\b"
    ),
    "yes_or_no": re.compile(
        r"\b(?:want me to|would you like|should i|shall i|do you want|may i|is (?:this|that|it) (?:ok|okay|right"
        r"|correct|fine)|does (?:this|that|it)"
        r"|ready (?:to|for)|are you (?:happy|ok|sure)|do you approve|can i|could i|approve|proceed)\b[^?\n]*\?"
    ),
    "open_question": re.compile(r"\b(?:what|which|how|where|who|when|why)\b[^?\n]{3,}\?[^?]{0,80}\Z"),
    "claims": re.compile(
        r"\b(?:done|fixed|committed|pushed|updated|removed|added|created|implemented|completed?|ready to"
        r"|all (?:\w+ )?tests pass|passing|now (?:shows?|works?|will|creates?))\b|✅"
    ),
}
