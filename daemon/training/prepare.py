"""From a request to what a bake works with: the model as a subject, all texts as tokens, the ledger."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from daemon.errors import DataError, MismatchError
from daemon.protocol import Progress, TrainRequest, TrainSettings
from daemon.steering.apply import deltas_at
from daemon.steering.exactness import tries_are_exact
from daemon.steering.loading import LoadedModel
from daemon.steering.targets import find_targets, mlp_down
from daemon.steering.text import encode_neutral, encode_pairs
from daemon.steering.vector_file import load
from daemon.training.checkpoint import Ledger
from daemon.training.evaluate import HeldOut
from daemon.training.subject import Place, Subject
from daemon.training.teacher import TrainTexts
from daemon.training.texts import PairTexts
from daemon.training.weights import TouchedWeights
from graph.schema import Pair


@dataclass(frozen=True)
class Bake:
    """One bake under way. `earlier` are the held-out pairs of behaviours that live in the base already, by name."""

    subject: Subject
    settings: TrainSettings
    train: TrainTexts
    validation: HeldOut
    test: HeldOut
    earlier: dict[str, PairTexts]
    ledger: Ledger
    report: Callable[[Progress], None]


def prepare(loaded: LoadedModel, request: TrainRequest, ledger: Ledger, report: Callable[[Progress], None]) -> Bake:
    """Tokenise and resolve everything.

    Raises:
        MismatchError: the weights are not those that the request names, or the vector has another shape.
        DataError: too few pairs or texts, or the model has no such matrices.
    """
    require_evidence(request)
    tokenizer = loaded.tokenizer
    sides = {side: pair_texts(loaded, getattr(request, side)) for side in ("train", "validation", "test")}
    neutral = {
        side: tuple(encode_neutral(tokenizer, text) for text in getattr(request, f"neutral_{side}"))
        for side in ("train", "validation", "test")
    }
    replay = tuple(item for each in request.earlier for item in pair_texts(loaded, each.train).items)
    longest = [*sides["train"].items, *sides["validation"].items, *sides["test"].items, *neutral["train"]]
    return Bake(
        subject=_subject(loaded, request, tries_are_exact(loaded.layout, longest)),
        settings=request.settings,
        train=TrainTexts(sides["train"], neutral["train"], replay),
        validation=HeldOut(sides["validation"], neutral["validation"]),
        test=HeldOut(sides["test"], neutral["test"]),
        earlier={each.name: pair_texts(loaded, each.test) for each in request.earlier if each.test},
        ledger=ledger,
        report=report,
    )


def require_base(loaded: LoadedModel, request: TrainRequest) -> None:
    """The files must be those whose digest the request names.

    Raises:
        MismatchError: they are not.
    """
    if loaded.digest != request.base_digest:
        raise MismatchError(
            f"{request.model}: digest {loaded.digest[:12]}, the job was made for {request.base_digest[:12]}; "
            "the weights changed since: provide that model again or queue a new job"
        )


def require_evidence(request: TrainRequest) -> None:
    """Something of every kind to learn from and to judge by.

    Raises:
        DataError: a side is empty.
    """
    for side in ("train", "validation", "test"):
        if not getattr(request, side):
            raise DataError(f"{request.behaviour}: no {side} pairs; training needs all three sides of the split")
        if not getattr(request, f"neutral_{side}"):
            raise DataError(f"{request.behaviour}: no neutral {side} text; training needs text to leave alone")


def pair_texts(loaded: LoadedModel, pairs: Sequence[Pair]) -> PairTexts:
    """Both replies of each pair as tokens."""
    return PairTexts(tuple(encode_pairs(loaded.tokenizer, pairs)), tuple(pair.group for pair in pairs))


def _subject(loaded: LoadedModel, request: TrainRequest, tries: bool) -> Subject:
    file = load(request.vector)
    if file.vectors.shape != (loaded.layout.n_layers, loaded.layout.hidden_size):
        raise MismatchError(
            f"{request.vector}: {file.vectors.shape[0]} layers of {file.vectors.shape[1]}, the model has "
            f"{loaded.layout.n_layers} of {loaded.layout.hidden_size}; extract it from this model"
        )
    if file.metadata["template_digest"] != loaded.template_digest:
        told = "made for another tokenizer or chat template; extract it from this model"
        raise MismatchError(f"{request.vector}: {told}")
    at = sorted(request.placements, key=lambda each: each.layer)
    downs = {each.layer: mlp_down(loaded.model, loaded.layout, each.layer) for each in at}
    places = {layer: Place(down, _weight_name(loaded.model, down)) for layer, down in downs.items()}
    targets = find_targets(loaded.model, loaded.layout, request.settings.targets, max(places))
    trained = tuple(f"{target.name}.weight" for target in targets)
    parameters = dict(loaded.model.named_parameters())
    named = (*trained, *(place.down_name for place in places.values()))
    return Subject(
        model=loaded.model,
        layout=loaded.layout,
        places=places,
        trained=trained,
        weights=TouchedWeights({name: parameters[name] for name in dict.fromkeys(named)}),
        shifts=deltas_at(file, at),
        tries=tries,
    )


def _weight_name(model: nn.Module, module: nn.Module) -> str:
    return next(f"{name}.weight" for name, each in model.named_modules() if each is module)
