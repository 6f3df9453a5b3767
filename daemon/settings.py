"""What can be set, with its default: reflexd.toml, then REFLEXD_* in the environment. Unknown keys are errors.

A nested key is written with two underscores in the environment: REFLEXD_TRAINING__APPROVAL=auto.
"""

import hashlib
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from daemon.errors import ConfigError
from daemon.home import read_toml
from daemon.protocol import Aggregator, TrainSettings, VerifySettings
from graph.behaviours.patterns import BUILTIN
from graph.mining.limits import MiningLimits
from graph.schema import Behaviour, Frozen

# Read by daemon.home, the scripts and the tests.
_ELSEWHERE = {"REFLEXD_CONFIG", "REFLEXD_VENV", "REFLEXD_TEST_MODEL", "REFLEXD_FUZZ"}


class SourceSettings(Frozen):
    """How memory sources are read."""

    max_bytes: int = Field(default=64 * 2**20, gt=0, description="a source file larger than this is refused")


class JudgingSettings(Frozen):
    """Who says how a human turn took the response before it."""

    by: Literal["rules", "model"] = Field(
        default="rules", description="`model`: the agent's own model checks each candidate that the rules find"
    )


class ExtractionSettings(Frozen):
    """When a vector is extracted, and how."""

    aggregator: Aggregator = "mean_difference"
    min_pairs: int = Field(default=16, ge=2, description="pairs in the training split before a first extraction")
    refresh_share: float = Field(
        default=0.2, gt=0, description="changed training pairs for a new version, as a share of the version before's"
    )
    refresh_cosine: float = Field(
        default=0.97,
        ge=-1,
        le=1,
        description="a new version too when its predicted cosine to the one before is this low",
    )
    depth: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="share of the layers, from the first, that is read; must hold those of `verification.layers`",
    )
    activations_mb: int = Field(
        default=2048, ge=0, description="activations kept on disk, so that a refresh reads only new text"
    )
    seed: int = 0

    @property
    def activations_bytes(self) -> int:
        """As the model process is told."""
        return self.activations_mb << 20


class DriftSettings(Frozen):
    """When a served vector is measured again, and what it must hold."""

    recheck: bool = Field(default=True, description="measure again when weights, template or directions changed")
    min_new_pairs: int = Field(default=6, ge=1, description="held-out pairs since the last measurement")
    max_kl_growth: float = Field(
        default=1.25, ge=1, description="neutral KL p95 over that at the proof; within the bar of the proof is fine too"
    )


class PromotionSettings(Frozen):
    """When a verified behaviour counts as stable."""

    versions: int = Field(default=2, ge=1, description="how many last verified versions must agree")
    min_cosine: float = Field(default=0.9, ge=-1, le=1, description="cosine between them at the chosen layers")
    min_sessions: int = Field(default=8, ge=1, description="distinct sessions among the evidence")
    min_days: int = Field(default=3, ge=1, description="distinct days among the evidence")


class TrainingSettings(TrainSettings):
    """The training recipe, and who lets it start."""

    approval: Literal["ask", "auto"] = "ask"
    max_attempts: int = Field(default=3, ge=1)
    retry_after_s: int = Field(default=300, ge=0)
    lease_s: int = Field(default=120, ge=5)

    def recipe(self) -> TrainSettings:
        """Only what the model process needs."""
        return TrainSettings(**{name: getattr(self, name) for name in TrainSettings.model_fields})


class ServingSettings(Frozen):
    """What inference servers are told."""

    enable: Literal["verified", "manual"] = "verified"
    max_relative_dose: float = Field(default=1.0, gt=0)
    joint_budget: bool = Field(
        default=True, description="doses of vectors that are on together are scaled to the budget of one"
    )


class ScheduleSettings(Frozen):
    """How often the daemon looks, in seconds."""

    watch_s: float = Field(default=30, gt=0)
    work_s: float = Field(default=60, gt=0)
    inotify: bool = Field(default=True, description="look at once when a watched file changes, where the system tells")


class ProcessSettings(Frozen):
    """The process that holds the model."""

    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda(:[0-9]{1,3})?)$",
        description="auto: a CUDA GPU where torch sees one, else cpu; or cpu, cuda, cuda:N",
    )
    threads: int = Field(
        default=0, ge=0, description="torch threads; 0: the daemon leaves a quarter of the cores to others, `once` none"
    )
    nice: int = Field(default=10, ge=0, le=19)
    keep_model_s: float = Field(
        default=60, ge=0, le=86_400, description="seconds that the model stays in memory after its last use"
    )
    wait_above: float = Field(
        default=0.75, gt=0, le=1, description="the daemon waits while others use more of cores or GPU; 1 never waits"
    )
    wait_most_s: float = Field(default=3600, ge=0, description="and for one unit of work no longer than this")


class BehaviourSettings(Frozen):
    """A behaviour of the user's own; cues are regular expressions over the response."""

    description: str = ""
    positive: str = ""
    negative: str = ""
    positive_cues: tuple[str, ...] = ()
    negative_cues: tuple[str, ...] = ()
    enabled: bool = True


class Settings(BaseSettings):
    """The whole configuration."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, env_prefix="REFLEXD_", env_nested_delimiter="__")

    state_dir: str = "state"
    model: str = "smollm2"
    sources: SourceSettings = SourceSettings()
    judging: JudgingSettings = JudgingSettings()
    mining: MiningLimits = MiningLimits()
    extraction: ExtractionSettings = ExtractionSettings()
    verification: VerifySettings = VerifySettings()
    drift: DriftSettings = DriftSettings()
    promotion: PromotionSettings = PromotionSettings()
    training: TrainingSettings = TrainingSettings()
    serving: ServingSettings = ServingSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    process: ProcessSettings = ProcessSettings()
    behaviours: dict[str, BehaviourSettings] = {}

    def known_behaviours(self) -> list[Behaviour]:
        """Built-in behaviours, then one's own (which may redefine or switch off a built-in one)."""
        known = {behaviour.name: behaviour for behaviour in BUILTIN}
        for name, own in self.behaviours.items():
            if not own.enabled:
                known.pop(name, None)
                continue
            cues = "\n".join((*own.positive_cues, "", *own.negative_cues))
            version = hashlib.sha256(cues.encode()).hexdigest()[:8]  # other cues, another version
            known[name] = Behaviour(name=name, version=version, **own.model_dump(exclude={"enabled"}))
        return list(known.values())

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic-settings' signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic-settings' signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic-settings' signature
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file, which arrives as keyword arguments."""
        return env_settings, init_settings


def load_settings(config: Path) -> Settings:
    """The configuration in `config`, with the environment on top.

    Raises:
        ConfigError: A key is unknown or a value is wrong; the message names file and key.
    """
    _refuse_unknown_environment()
    values: dict[str, Any] = read_toml(config)
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        what = "unknown key" if first["type"] == "extra_forbidden" else first["msg"]
        raise ConfigError(f"{config}: {key}: {what}; docs/configuration.md lists every key") from None


def _refuse_unknown_environment() -> None:
    known = {f"REFLEXD_{name.upper()}" for name in Settings.model_fields} | _ELSEWHERE
    for name in os.environ:
        if name.startswith("REFLEXD_") and name.split("__")[0] not in known:
            raise ConfigError(f"environment: {name}: unknown key; docs/configuration.md lists every key")
