"""The pieces of a proof: baselines, confounds, samples, generations, checks, gate."""

from typing import Literal

from graph.schema import Frozen


class Null(Frozen):
    """The effect of one baseline vector of equal norm at the same place, on test pairs; `name` is a behaviour's."""

    kind: Literal["random", "shuffled", "behaviour"]
    seed: int
    effect: float
    name: str = ""


class NullTest(Frozen):
    """What chance does: the `bar` that an effect must exceed, and how likely a chance effect is to be as large.

    `percentile` is what was asked, of each of `family` behaviours that are proved together; `p_value` is for one.
    """

    bar: float
    percentile: float
    family: int
    p_value: float
    strongest: float
    n: int


class SampleEffect(Frozen):
    """One test pair: its gap without the vector, the change under it, and the slope over doses, nats a token."""

    pair: str
    group: str
    direction: str
    base_gap: float
    effect: float
    slope: float


class LengthTest(Frozen):
    """Whether length alone tells the two replies of a pair apart, in tokens.

    `longer_positive`: share of the pairs whose positive reply is the longer one (ties count half). `adjusted`: effect
    at equal length, by regression over test pairs, with its interval; None before anything was measured.
    """

    longer_positive: float
    p_value: float
    n: int
    adjusted: float | None = None
    adjusted_interval: tuple[float, float] | None = None


class LetterTest(Frozen):
    """Of pairs that are A/B items: whether the letter tells the sides apart, and what either order gives.

    `first_positive`: share of items whose positive answer is (A). `bias`, `bias_steered`: mean log P(A) − log P(B),
    nats a token, over both orders. `effect_given`, `effect_swapped`: effects in the order of the data, and the other.
    """

    n: int
    first_positive: float
    p_value: float
    bias: float | None = None
    bias_steered: float | None = None
    effect_given: float | None = None
    effect_swapped: float | None = None


class TopicTest(Frozen):
    """Whether the words of the directions alone, learnt on other groups, tell the sides of a pair apart."""

    accuracy: float
    p_value: float
    n: int
    words: tuple[str, ...] = ()


class Confounds(Frozen):
    """What else than the behaviour could tell the sides apart; `letter` is None without A/B items."""

    length: LengthTest
    topic: TopicTest
    letter: LetterTest | None = None


class GeneratedText(Frozen):
    """One reply, and the pole that the behaviour's cues see in it ("" for neither).

    `repetition` is the share of repeated 4-grams; `perplexity` is under the model without the vector, None of an empty
    reply.
    """

    text: str
    pole: Literal["positive", "negative", "both", ""]
    repetition: float
    perplexity: float | None


class Generation(Frozen):
    """A held-out direction answered twice from the same seed: without the vector and with it."""

    kind: Literal["greedy", "sampled"]
    pair: str
    direction: str
    base: GeneratedText
    steered: GeneratedText


class Check(Frozen):
    """A share measured without and with the vector over `n` items; the `bar` is on the change for the worse.

    `passed` is None where the model cannot do the task without the vector either, so nothing can be said.
    """

    name: str
    better: Literal["higher", "lower"]
    before: float
    after: float
    bar: float
    n: int
    passed: bool | None


class GateReport(Frozen):
    """A probe on the mean activation of a prompt at block `layer`: open where weights · activation + bias > 0.

    Fitted on training prompts against neutral training text, its threshold (folded into `bias`) set on validation.
    `recall` and `false_open` are shares of test prompts and neutral test texts; `effect_kept` and `kl_left` are ratios
    to the vector without a gate. `passed`: it keeps enough and leaves enough alone.
    """

    layer: int
    weights: tuple[float, ...]
    bias: float
    recall: float
    false_open: float
    effect: float
    effect_kept: float
    kl_mean: float
    kl_p95: float
    kl_left: float
    n_prompts: int
    n_neutral: int
    passed: bool
    reason: str = ""
