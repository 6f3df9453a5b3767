"""When to steer: a probe on the prompt that leaves a vector out where nobody gave a direction.

    prompt ──▶ mean over its tokens but the first, at block output `layer` ──▶ weights · mean + bias > 0 ──▶ steer

`layer` is no deeper than the lowest block that the vector is added to, and what is read there is not steered yet: a
server decides in the pass that reads the prompt anyway, once a request. Where the gate is closed, nothing is added.

What it may key on. It is taught the prompts of a behaviour's pairs against neutral text, and nothing tells it *why*
they differ. Pairs are chats, so against plain passages alone it learns the chat's format: every plain passage is shown
to it a second time as a user's message, and a neutral chat as the request that it begins with. What is left to learn is
"a direction, of such a kind" against "a question, or text that asks for nothing". Other requests that are worded as
directions open it, and should: it says that somebody gave a direction, not that the direction matters.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from daemon.proof.prepared import OnProgress
from daemon.protocol import GateReport, NeutralText, Progress, VerifySettings
from daemon.steering.capture import read_replies
from daemon.steering.loading import LoadedModel
from daemon.steering.moments import d_prime
from daemon.steering.score import kl_summary
from daemon.steering.sweep import Prepared
from daemon.steering.text import EncodedReply, Ids, encode_prompt
from graph.schema import ChatMessage, Pair

DEPTHS = (0.25, 0.5, 0.75, 1.0)
"""Where it is tried to read, as shares of the lowest block that the vector is added to."""
RIDGE = 1e-3
MIN_PROMPTS = 2
_TINY = 1e-12
_NOTHING = 1e-6
"""Below this share of the mean spread, a dimension is taken to say nothing."""


@dataclass(frozen=True)
class Probe:
    """Open where weights · mean + bias > 0; `weights` (hidden,) float64 are float32 numbers, as a server holds them."""

    layer: int
    weights: Tensor
    bias: float

    def opens(self, means: Tensor) -> Tensor:
        """(n,) bool for means (n, hidden); a prompt without a mean (NaN) leaves it closed."""
        return self.weights @ means.T + self.bias > 0


@dataclass(frozen=True)
class NeutralPrompts:
    """Neutral texts as requests: `as_they_stand` one for each text, `as_messages` plain passages in a user's words."""

    as_they_stand: tuple[Ids, ...]
    as_messages: tuple[Ids, ...]
    chats: tuple[bool, ...]

    @property
    def kinds(self) -> list[list[Ids]]:
        """Passages, passages in a user's words, and chats, without the kinds that there are none of."""
        told = list(zip(self.as_they_stand, self.chats, strict=True))
        passages, chats = ([ids for ids, chat in told if chat is wanted] for wanted in (False, True))
        return [kind for kind in (passages, list(self.as_messages), chats) if kind]


def gate_report(
    loaded: LoadedModel,
    pairs: tuple[Sequence[Pair], Sequence[Pair], Sequence[Pair]],
    neutral: tuple[Sequence[NeutralText], Sequence[NeutralText], Sequence[NeutralText]],
    lowest_layer: int,
    test_effects: Tensor,
    neutral_kl: Tensor,
    owners: Tensor,
    settings: VerifySettings,
    on_progress: OnProgress,
) -> GateReport | None:
    """Fit a gate for a vector whose lowest block is `lowest_layer`, and measure it; None with too few prompts to fit.

    `pairs` and `neutral` are (train, validation, test). Without the gate, test pair i changed by `test_effects[i]`, and
    position k of the neutral test text `owners[k]` diverged by `neutral_kl[k]`.
    """
    on_progress(Progress(stage="gate", done=0, total=2))
    probe = fit_gate(loaded, pairs[0], pairs[1], neutral[0], neutral[1], lowest_layer)
    on_progress(Progress(stage="gate", done=1, total=2))
    if probe is None:
        return None
    report = measure_gate(loaded, probe, pairs[2], neutral[2], test_effects, neutral_kl, owners, settings)
    on_progress(Progress(stage="gate", done=2, total=2))
    return report


def fit_gate(
    loaded: LoadedModel,
    train: Sequence[Pair],
    validation: Sequence[Pair],
    neutral_train: Sequence[NeutralText],
    neutral_validation: Sequence[NeutralText],
    lowest_layer: int,
) -> Probe | None:
    """Weights from training prompts, for each depth; depth and threshold from validation prompts.

    None when a side has fewer than `MIN_PROMPTS` prompts.
    """
    layers = sorted({math.floor(depth * lowest_layer) for depth in DEPTHS})
    open_ids = [_readable(sorted(set(pair_prompts(loaded, side)))) for side in (train, validation)]
    closed_ids = [
        [kind for told in neutral_prompts(loaded, side).kinds if (kind := _readable(told))]
        for side in (neutral_train, neutral_validation)
    ]
    if min(*map(len, open_ids), *(sum(map(len, kinds)) for kinds in closed_ids)) < MIN_PROMPTS:
        return None
    opened = [prompt_means(loaded, side, layers) for side in open_ids]
    closed = [[prompt_means(loaded, kind, layers) for kind in kinds] for kinds in closed_ids]
    best: tuple[tuple[float, float], Probe] | None = None
    for place, layer in enumerate(layers):
        weights, bias = boundary(opened[0][:, place], [kind[:, place] for kind in closed[0]])
        told = [side[:, place] @ weights + bias for side in (opened[1], torch.cat(closed[1]))]
        threshold, separation = best_threshold(told[0], told[1])
        rank = (separation, distance(told[0], told[1]))
        if best is None or rank > best[0]:
            best = rank, Probe(layer, weights, bias - threshold)
    return best[1] if best else None


def measure_gate(
    loaded: LoadedModel,
    probe: Probe,
    test: Sequence[Pair],
    neutral_test: Sequence[NeutralText],
    test_effects: Tensor,
    neutral_kl: Tensor,
    owners: Tensor,
    settings: VerifySettings,
) -> GateReport:
    """What the gate keeps of the effect and leaves of the divergence: 0 wherever it is closed; as for `gate_report`."""
    opened = opens_for(loaded, probe, pair_prompts(loaded, test))
    prompts = neutral_prompts(loaded, neutral_test)
    stand, messages = (opens_for(loaded, probe, ids) for ids in (prompts.as_they_stand, prompts.as_messages))
    effect, whole = float(torch.where(opened, test_effects, 0.0).mean()), float(test_effects.mean())
    left, ungated = kl_summary(torch.where(stand[owners], neutral_kl, 0.0)), kl_summary(neutral_kl)
    kept = effect / whole if whole > 0 else 0.0
    kl_left = 0.0 if ungated.mean == 0 else left.mean / ungated.mean
    reason = _reason(kept, kl_left, settings)
    distinct = dict(zip(pair_prompts(loaded, test), opened.tolist(), strict=True))
    neutral_opened = torch.cat([stand, messages])
    return GateReport(
        layer=probe.layer,
        weights=tuple(probe.weights.tolist()),
        bias=probe.bias,
        recall=sum(distinct.values()) / len(distinct),
        false_open=float(neutral_opened.to(torch.float64).mean()),
        effect=effect,
        effect_kept=kept,
        kl_mean=left.mean,
        kl_p95=left.p95,
        kl_left=kl_left,
        n_prompts=len(distinct),
        n_neutral=len(neutral_opened),
        passed=not reason,
        reason=reason,
    )


def _reason(kept: float, kl_left: float, settings: VerifySettings) -> str:
    """Why the gate is of no use; "" when it is. NaN meets nothing."""
    if not kept >= settings.min_gated_effect:
        return f"keeps {kept:.0%} of the effect, at least {settings.min_gated_effect:.0%} is asked"
    if not kl_left <= settings.max_gated_kl:
        return f"leaves {kl_left:.0%} of the neutral KL, at most {settings.max_gated_kl:.0%} may be left"
    return ""


def owners_of(prepared: Prepared) -> Tensor:
    """Which item each scored position belongs to: (positions,) long, in the order of `sweep.disturbance`."""
    return torch.cat([batch.owners.cpu() for batch in prepared.batches])


# ---------------------------------------------------------------- what is read


def pair_prompts(loaded: LoadedModel, pairs: Sequence[Pair]) -> list[Ids]:
    """What is given in each pair, as a model is asked it."""
    return [encode_prompt(loaded.tokenizer, pair.prompt) for pair in pairs]


def neutral_prompts(loaded: LoadedModel, texts: Sequence[NeutralText]) -> NeutralPrompts:
    """Neutral texts as requests: a passage as it stands and as a user's message, a chat up to its last reply.

    Without a chat template everything is plain text, and there are no messages.
    """
    templated = bool(getattr(loaded.tokenizer, "chat_template", None))
    stand, messages, chats = [], [], []
    for text in texts:
        plain = text.text if text.text is not None else "\n".join(m["content"] for m in text.messages or ())
        chats.append(templated and text.text is None)
        if chats[-1]:
            stand.append(encode_prompt(loaded.tokenizer, _request(text)))
            continue
        stand.append(encode_prompt(loaded.tokenizer, plain))
        if templated:
            messages.append(encode_prompt(loaded.tokenizer, (ChatMessage(role="user", content=plain),)))
    return NeutralPrompts(tuple(stand), tuple(messages), tuple(chats))


def _request(text: NeutralText) -> tuple[ChatMessage, ...]:
    messages = [ChatMessage.model_validate(message) for message in text.messages or ()]
    while len(messages) > 1 and messages[-1].role == "assistant":
        messages.pop()
    return tuple(messages)


def prompt_means(loaded: LoadedModel, prompts: Sequence[Ids], layers: Sequence[int]) -> Tensor:
    """Mean over each prompt's tokens but the first, at each layer: (prompts, layers, hidden) float64, on the CPU.

    NaN for a prompt of one token, of which nothing is left.
    """
    found = torch.full((len(prompts), len(layers), loaded.layout.hidden_size), torch.nan, dtype=torch.float64)
    readable = [index for index, ids in enumerate(prompts) if len(ids) > 1]
    items = [EncodedReply(prompts[index][:1], prompts[index][1:]) for index in readable]
    for reading in read_replies(loaded.layout, items, layers):
        found[readable[reading.index]] = reading.means.to(torch.float64)
    return found


def opens_for(loaded: LoadedModel, probe: Probe, prompts: Sequence[Ids]) -> Tensor:
    """(prompts,) bool: for which of them the gate is open."""
    return probe.opens(prompt_means(loaded, prompts, [probe.layer])[:, 0])


def _readable(prompts: Sequence[Ids]) -> list[Ids]:
    """Those that have a token after the first."""
    return [ids for ids in prompts if len(ids) > 1]


# ---------------------------------------------------------------- the boundary


def boundary(opened: Tensor, closed: Sequence[Tensor], ridge: float = RIDGE) -> tuple[Tensor, float]:
    """Weights (hidden,) float64, exact in float32, and bias: positive for rows of `opened`, negative for the others.

        minimise  Σ_i c_i (w·z_i − y_i)² + ridge · Σ_i c_i ‖z_i‖² · ‖w‖²       z standardised, y = ±1

    This is linear discriminant analysis with a shrunken covariance. The costs c of both sides sum to ½, and those of
    each kind in `closed` to an equal part of that: many passages do not outvote few chats. Solved in the span of the n
    rows, where the solution lies: n³ and not hidden³.
    """
    rows = torch.cat([opened, *closed])
    y = torch.cat([torch.ones(len(opened)), -torch.ones(len(rows) - len(opened))]).to(rows)
    costs = torch.cat(
        [rows.new_full((len(opened),), 0.5 / len(opened))]
        + [rows.new_full((len(kind),), 0.5 / len(closed) / len(kind)) for kind in closed]
    )
    centre = costs @ rows
    spread = (costs @ (rows - centre).square()).sqrt()
    spread = spread.clamp_min(_NOTHING * float(spread.mean()) + _TINY)
    scaled = (rows - centre) / spread * costs.sqrt()[:, None]
    gram = scaled @ scaled.T
    damped = gram + ridge * gram.trace().clamp_min(_TINY) * torch.eye(len(rows)).to(rows)
    weights = scaled.T @ torch.linalg.solve(damped, y * costs.sqrt()) / spread
    weights = weights.to(torch.float32).to(torch.float64)
    return weights, -float(weights @ centre)


def best_threshold(opened: Tensor, closed: Tensor) -> tuple[float, float]:
    """Where scores (n,) and (m,) part best, and how well: the share of `opened` above less that of `closed` above.

    Of several that are as good, the middle of the widest gap. Source: Youden, Cancer 3 (1950) 32.
    """
    scores = torch.cat([opened, closed]).sort().values
    middles, gaps = (scores[1:] + scores[:-1]) / 2, scores[1:] - scores[:-1]
    above = [(side[None] > middles[:, None]).to(torch.float64).mean(dim=1) for side in (opened, closed)]
    parted = above[0] - above[1]
    best = torch.where(parted >= parted.max() - _TINY, gaps, -1.0).argmax()
    return float(middles[best]), float(parted[best])


def distance(opened: Tensor, closed: Tensor) -> float:
    """Distance of the means of two sides in units of their pooled spread; 0 of sides that have none."""
    if min(len(opened), len(closed)) < 2:
        return 0.0
    return float(d_prime(opened, closed))
