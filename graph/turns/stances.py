"""More cues over lower-cased prose: what is seen that is not as it was meant to be, and what the human thinks of it.

Written from how people speak of software in general, not word by word from turns; what each weighs stands in
graph/turns/weights.json.
"""

from collections.abc import Callable

from graph.turns.cues import cue

_SEEN = (
    r"(?:get|gets|got|getting|gives?|gave|giving|see|seeing|saw|shows?|showing|throws?|threw|have|has|hit|hitting|with)"
)
_BEHAVES = (
    r"(?:there|here|visible|clickable|working|work|works|worked|help|helping|change|changing|changed|show|showing"
    r"|shown|appear"
    r"|appearing|load|loading|start|starting|open|opening|close|closing|run|running|respond|responding|render|rendering"
    r"|display|displaying|displayed|update|updating|updated|save|saving|saved|scroll|scrolling|compile|build|match"
    r"|matching"
    r"|move|moving|navigate|navigating|redirect|redirecting|connect|connecting|install|stop|stopping|stay|staying|fit"
    r"|fitting|align|aligned|aligning|centered|refresh|refreshing|populate|populated|pass|passing|find|finding"
    r"|recogni[sz]ed"
    r"|applied|happening|triggered|triggering|firing|fire|count|counted|available|accessible|consistent|even(?:ly)?"
    r"|let me)"
)

# Something is seen that is not as it was meant to be, in whatever words.
REPORTS: dict[str, Callable[[str], float]] = {
    "still_so": cue(
        r"\A(?:\W|and|but|yes|yeah|ok|okay|it|it's|they|that|this|is)*\bstill\b(?! (?:want|need|have to|think|to do"
        r"|on)\b)"
        r"|(?:\.|!|,|;|\n|\bbut|\band) *(?:it(?:'s| is)?|they(?:'re| are)?|that(?:'s| is)?|this is|there(?:'s| is"
        r"| are)?"
        r"|i(?:'m| am)?|we(?:'re| are)?|the [\w ]{1,30})? ?(?:is |are |am )?still\b(?! (?:want|need|have to|think"
        r"|to do)\b)"
        r"|\bi(?:'m| am)? still (?:get|see|have|can|can't|don't|do not|not)\w*\b|\bstill (?:not|no|the same|nothing"
        r"|there"
        r"|broken|fail\w*|show\w*|happen\w*|see\w*|gett?\w*|say\w*|says|an? error)\b"
    ),
    "misbehaves": cue(
        rf"\b(?:isn't|is not|aren't|are not|wasn't|doesn't|does not|don't|do not|didn't|did not|won't|will not|not"
        rf"|never|no longer|can't|cannot|couldn't|stopped|fails? to|failed to|refus\w+ to|unable to) "
        rf"(?:seem(?:s|ing)? to |get |getting |be |being |even |actually |really |always |properly |correctly "
        rf"|yet )*{_BEHAVES}\b"
        r"|\bnothing (?:\w+ ){0,2}(?:happen\w*|show\w*|appear\w*|come\w*|came|change\w*|is|was|there|work\w*|load\w*)\b"
        r"|\bnothing (?:on|in) the\b|\b(?:stopped|keeps?|kept) \w+ing\b|\b(?:i|we) (?:can't|cannot|don't|couldn't"
        r"|didn't|do not)"
        r" (?:see|find|get|open|access|click|log|select|type|scroll|hear)\b"
    ),
    "errs": cue(
        rf"\A\W*(?:(?:an?|the|this|same|another|new|got|getting|get|more|build|runtime|type|syntax|server|console)\W+)*"
        rf"(?:errors?|exception|bug|crash(?:es|ed|ing)?|fail(?:s|ed|ing|ure)?|timeout|timed out)\b"
        rf"|\b{_SEEN} (?:\w+ ){{0,4}}(?:errors?|exceptions?|crash\w*|failures?|warnings?|timeouts?|[45]\d\d|null"
        rf"|undefined|nan)\b"
        r"|\b(?:error|exception|traceback|stack ?trace|crash|failure)(?: \w+){0,3}:|\b(?:it|that|this|app|page|server"
        r"|script"
        r"|build|test\w*|command|and|then|which|just) (?:now |just |still |again |always )*(?:fails?|failed|crash\w*"
        r"|hangs?|hung"
        r"|freezes|froze|errors out|errored|times? out|timed out|dies|died|breaks|broke)\b|\b(?:failing|broken"
        r"|failed)\b"
    ),
    "looks_off": cue(
        r"\b(?:look|looks|looked|looking|seem|seems|feel|feels|is|are|it's|was|bit|quite|very|so|too|appears?"
        r"|comes? out|became) "
        r"(?:a (?:bit|little) |kind of |kinda |sort of |very |quite |really |all |too |so |pretty |completely "
        r"|totally |now )*"
        r"(?:off|weird\w*|odd\w*|strange\w*|terrible|awful|horrible|bad(?:ly)?|ugly|broken|wrong|messed up|different"
        r"|cut off|skewed"
        r"|blurry|tiny|huge|misaligned|cramped|squashed|stretched|empty|blank|invisible|unreadable|cluttered"
        r"|slow(?:er)?|laggy"
        r"|jumpy|stuck|missing|gone|duplicated|inconsistent|incomplete|out of (?:sync|place)|upside down|unresponsive"
        r"|worse)\b"
        r"|\b(?:disappear\w*|vanish\w*|glitch\w*|flicker\w*|overlap(?:s|ped|ping)?|regress\w*|misplaced|worse)\b"
        r"|\b(?:oddly|weirdly|strangely) \w+ed\b|\bgoes? (?:blank|black|white|away)\b|\bas (?:before|if nothing)\b"
        r"|\bsame as before\b"
    ),
    "tried": cue(
        r"\bi(?:'ve| have)? (?:just |now |also |then )?(?:tried|ran|run|tested|test|installed|clicked|click|opened"
        r"|open|restarted"
        r"|refreshed|reloaded|rebooted|pressed|press|uploaded|deployed|started|launched|logged)\b|\bwhen (?:i|you|it"
        r"|we|the|running"
        r"|clicking|opening|trying|starting|logging|using)\b|\b(?:after|upon|on) (?:\w+ing|restart|refresh|reload"
        r"|startup|login)\b"
        r"|\A(?:clicking|running|opening|pressing|trying|selecting|hovering|typing|uploading|scrolling)\b"
        r"|\bas soon as\b"
    ),
    "again_so": cue(
        r"\b(?:\w+ing|happened|happens|broke|broken|error|gone|back|problem|thing|issue"
        r"|same)\b[^.?!\n]{0,30}\bagain\W*\Z"
    ),
    "sees": cue(
        r"\b(?:i|we) (?:only |just |now |can |also |do )*(?:see|get|got|notice|noticed|find|found|saw)\b"
        r"|\bit (?:only |just |now "
        r"|also |then |always )*(?:says|shows|gives|prints|displays|opens|takes|has|does|goes|results|returns"
        r"|started)\b"
    ),
}

# What the human does not want, did not ask for, or would have otherwise.
STANCES: dict[str, Callable[[str], float]] = {
    "dislikes": cue(
        r"\b(?:i|we) (?:really |still |just |also |actually )*(?:don't|do not|didn't|did not|wouldn't|would not"
        r"|never) (?:really |actually "
        r"|even )*(?:like|want|need|love|care|agree|ask\w*|mean|use|believe|trust|wish)\b|\b(?:i|we)(?:'d| would"
        r"|-d) (?:much )?rather\b"
        r"|\bi'm not (?:a fan|happy|worried|interested|asking|looking|sure (?:about|that|this|we))\b"
        r"|\bi am not (?:a fan|happy|worried"
        r"|interested|asking|looking|sure)\b|\bnot what (?:i|we)\b|\bi disagree\b|\bpush back\b|\bi hate\b"
    ),
    "forbids": cue(
        r"(?:\A|[.!?;:\n] *|, ?(?:and |but |so |please |just )*|\bbut |\bplease )(?:please |just |also "
        r"|you )*(?:don't|do not|never|stop"
        r"|avoid|no need to) (?!worry|forget|know|think|hesitate|mind|see|have|even)\w+"
    ),
    "faults": cue(
        r"\byou(?:'ve| have)? (?:\w+ )?(?:got|have|had) [^.?!\n]{0,50}\b(?:wrong|mixed up|backwards?|confused)\b"
        r"|\b(?:i think|seems?|looks?"
        r" like|maybe|apparently) you(?:'re|'ve| are| have)? ?(?:\w+ )?(?:misunderst\w+|miss\w+|got|forgot\w*|mix\w*"
        r"|confus\w+|lost|went"
        r"|using|looking|wrong|skipp\w+|ignor\w+|overlook\w+)\b|\byou (?:keep|always|never|again|still|completely"
        r"|totally|misread"
        r"|misunderst\w+|overlooked|hallucinat\w+|lied|assumed?|invented|ruined|lost|dropped)\b|\bhow come\b"
        r"|\bwhy (?:didn't|don't|aren't"
        r"|haven't|wouldn't|isn't|is it|is there|is this|are there)\b|\b(?:are|were) you sure\b|\bcan't you\b"
        r"|\bdidn't you\b"
    ),
    "asked_for": cue(
        r"\bi (?:was|had|am|'m) (?:asking|thinking|hoping|talking|expecting|looking|referring|after|trying)\b"
        r"|\bi'm (?:thinking|talking"
        r"|referring|asking)\b|\bi (?:asked|wanted|said|told|meant|expected|requested|specified|mentioned)\b"
        r"|\bno,? i mean\b|\bit was"
        r" (?:supposed|meant)\b|\bremember (?:that|we|i)\b|\blike i said\b|\bas (?:i|we) (?:said|mentioned|discussed"
        r"|agreed)\b"
    ),
    "turns": cue(
        r"(?:[.!?,;\n]|\A(?:ok|okay|good|great|nice|cool|yes|yeah|agree\w*|thanks|better|perfect|sure|right|close"
        r"|almost|better)\W) ?"
        r"\b(?:but|however|except|although|though|only thing|one (?:issue|problem|thing|more)|two (?:things|issues)"
        r"|just one|a few"
        r" (?:things|issues)|couple of (?:things|issues))\b"
    ),
    "no_such": cue(
        r"\bthere(?:'s| is| are| was|'re)(?: (?:now|still|already|really))? (?:no|not|nothing|none)\b|\bno such\b"
    ),
    "should_briefly": cue(
        r"\b(?:it|this|that|these|those|they|which|the [^.?!\n]{2,50}|all \w+|each \w+|every \w+)(?: \w+)? (?:should"
        r"|must|needs? to|has to"
        r"|have to|ought to|shouldn't|mustn't|could|can) (?:also |not |only |just |always |never |still |be |have )*\w+"
    ),
    "approves": cue(
        r"(?:\A|[.!?,;\n] *|\bi |\bi'm |\bwe |\band )(?:yes|yea|yeah|yep|agree[ds]?|approved?|accept(?:ed)?"
        r"|confirmed?|go ahead|please do|do it"
        r"|go for it|sounds (?:good|great|like a plan)|let'?s (?:go|do (?:it|that|this)|proceed)|proceed"
        r"|happy with)\b(?! (?:to|with me)\b)"
    ),
    "confirms": cue(
        r"\b(?:it|that|this|all|everything|both|they|now|which|script|page|app|button|build|tests?)(?: (?:all|now"
        r"|seems? to|does|did|is|are"
        r"|also|just|really))* (?:works?|worked|working|passes|passed|fixed it|did (?:it|the trick)|does (?:it"
        r"|the trick)|good|correct|right"
        r"|fine|perfect|great)\b(?! (?:with(?:out)?|if|when|but|on the|for the|in the)\b)|\bindeed\b|\ball good\b"
        r"|\bworks? (?:like a charm"
        r"|well|perfectly|beautifully|nicely|great|now)\b|\b(?:good|better|nice|great) (?:now|already)\b"
        r"|\bno (?:issues|problems|errors|complaints)\b"
    ),
    "ships_later": cue(
        r"\A[^.?!\n]{0,60}\b(?:and|then|to|ahead and|the|a|initial|first|now|please|can|you|i'll|just|let's"
        r"|also) (?:commit|push|merge"
        r"|check it in|ship it|deploy)\b"
    ),
    "delights": cue(
        r"\A(?:\W|oh|so|ok|okay|wow|ah|haha|that(?:'s| is| was)?|this is|it(?:'s| is)|looks?|really|very|all"
        r"|you(?:'re| are)?|pretty|absolutely"
        r"|simply|just)*(?:magic\w*|exciting|excited|impress\w+|brilliant|superb|stellar|neat|lovely|fab|fabulous"
        r"|bravo|yay|woo+hoo|hurray"
        r"|hooray|nailed|spot[- ]on|love|wow|sweet|epic|gorgeous|excellent|amazing|awesome|fantastic|incredible"
        r"|wonderful|perfect\w*|great"
        r"|beautiful\w*|nice\w*|good (?!question)|terrific|outstanding|cool|solid|thanks|thank you|thankyou|cheers"
        r"|much better|well done|kudos)\b"
    ),
    "next_task": cue(
        r"\A(?:\W|ok|okay|great|good|nice|cool|and|so|alright|right|perfect|yes|thanks)*(?:next|now|then|another"
        r"|moving on|back to|getting back"
        r"|let's move|let's now|for the next|after that|new (?:task|feature|request|topic)|one more|in the (?:next"
        r"|new)|for (?:number|the|step"
        r"|each|now)|on the)\b"
    ),
    "told_done": cue(
        r"\A(?:\W|ok|okay|yes|so|and|alright|right|great)*(?:done|pushed|merged|deployed|installed|uploaded|restarted"
        r"|i(?:'ve| have)?(?: just| now"
        r"| already)? (?:added|pushed|merged|deployed|installed|created|done|set|moved|renamed|updated|changed|copied"
        r"|logged|put|run|made)"
        r"|\w+ (?:pushed|merged|deployed|installed|added|done))\b"
    ),
    "wants": cue(
        r"\b(?:i|we)(?:'d| would)?(?: also| now| really| just)? (?:want|need|like|have|wish|plan|intend)(?: you"
        r"| us)? to\b|\bi want (?:you|it|the|a|this)\b"
        r"|\bwe (?:will|need|should|must|want|can)\b|\bi(?:'m| am) (?:working|building|planning|trying|going)\b"
        r"|\bhelp me\b"
    ),
    "wonders": cue(
        r"\b(?:i wonder|wondering|what if|how about|could (?:it|we|you)|would (?:it|you)|what do you think"
        r"|any (?:idea|way)|is there|maybe we)\b"
    ),
}
