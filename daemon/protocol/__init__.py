"""What the resident and the model process say to each other: one JSON object a line, frozen models, no torch.

    resident ──▶ {"op": "choose" | "extract" | "screen" | "verify" | "recheck" | "train" | …, "request": {...}}
    resident ◀── {"progress": {...}} *  then  {"report": {...}} | {"error": {...}}

The model process never opens the store: it reads files that the request names and writes into the folder it names.
A dose is a strength in units of the layer's median residual norm (position 0 left out); a coefficient multiplies the
vector as stored. coefficient = dose · median_norm[layer] / ‖v[layer]‖.
"""

from daemon.protocol.choose import ChooseReport, ChooseRequest
from daemon.protocol.combine import (
    CombineReport,
    CombineRequest,
    CombineSettings,
    CrossEffect,
    FrontierPoint,
    JointEffect,
    JointKl,
    JointReport,
    Member,
)
from daemon.protocol.compare import CompareReport, CompareRequest, CompareRow, Effect, Timing
from daemon.protocol.evidence import (
    Check,
    Confounds,
    GateReport,
    GeneratedText,
    Generation,
    LengthTest,
    LetterTest,
    Null,
    NullTest,
    SampleEffect,
    TopicTest,
)
from daemon.protocol.extract import ExtractReport, ExtractRequest, LayerStatistics, ScreenReport, ScreenRequest
from daemon.protocol.parts import WAITING, Aggregator, NeutralText, NumberType, OptimizerName, Progress, TargetSet
from daemon.protocol.recheck import RecheckReport, RecheckRequest
from daemon.protocol.train import (
    BakeRow,
    EarlierBehaviour,
    Gate,
    GateSettings,
    TrainProgress,
    TrainReport,
    TrainRequest,
    TrainSettings,
)
from daemon.protocol.verify import (
    Condition,
    DosePoint,
    LayerPrediction,
    Placement,
    Rival,
    SideEffects,
    VerifyReport,
    VerifyRequest,
    VerifySettings,
)

__all__ = [
    "WAITING",
    "Aggregator",
    "BakeRow",
    "Check",
    "ChooseReport",
    "ChooseRequest",
    "CombineReport",
    "CombineRequest",
    "CombineSettings",
    "CompareReport",
    "CompareRequest",
    "CompareRow",
    "Condition",
    "Confounds",
    "CrossEffect",
    "DosePoint",
    "EarlierBehaviour",
    "Effect",
    "ExtractReport",
    "ExtractRequest",
    "FrontierPoint",
    "Gate",
    "GateReport",
    "GateSettings",
    "GeneratedText",
    "Generation",
    "JointEffect",
    "JointKl",
    "JointReport",
    "LayerPrediction",
    "LayerStatistics",
    "LengthTest",
    "LetterTest",
    "Member",
    "NeutralText",
    "Null",
    "NullTest",
    "NumberType",
    "OptimizerName",
    "Placement",
    "Progress",
    "RecheckReport",
    "RecheckRequest",
    "Rival",
    "SampleEffect",
    "ScreenReport",
    "ScreenRequest",
    "SideEffects",
    "TargetSet",
    "Timing",
    "TopicTest",
    "TrainProgress",
    "TrainReport",
    "TrainRequest",
    "TrainSettings",
    "VerifyReport",
    "VerifyRequest",
    "VerifySettings",
]
