"""Where a reflexd lives on disk: its configuration file and the folders beside it. No heavy imports; reads only.

reflexd.toml            the configuration
<state_dir>/
  reflexd.db            the store
  models/<name>/        models that `reflexd model add` provided
  vectors/              vector files, one a version
  activations/<model>/  what models showed at replies, so that no text is read twice; may be deleted
  training/<job>/<token>/   what one attempt at a training job wrote
  registry/<digest>/    what inference servers read
  locks/                one lock: only one reflexd works here at a time
"""

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path

from daemon.errors import ConfigError, NoInputError

CONFIG_NAME = "reflexd.toml"


@dataclass(frozen=True)
class Home:
    """The configuration file and the state folder it names."""

    config: Path
    state: Path

    @property
    def database(self) -> Path:
        """The store."""
        return self.state / "reflexd.db"

    @property
    def models(self) -> Path:
        """Models that were provided."""
        return self.state / "models"

    @property
    def vectors(self) -> Path:
        """Vector files, one a version."""
        return self.state / "vectors"

    @property
    def activations(self) -> Path:
        """Rows (`daemon.steering.rows`) of every model."""
        return self.state / "activations"

    @property
    def training(self) -> Path:
        """A folder for each job, in it one for each attempt's fencing token."""
        return self.state / "training"

    @property
    def registry(self) -> Path:
        """What inference servers read."""
        return self.state / "registry"

    @property
    def work_lock(self) -> Path:
        """Held by whoever works here, and by its model process."""
        return self.state / "locks" / "work.lock"

    @property
    def log(self) -> Path:
        """What the model process said on its standard error, last run only."""
        return self.state / "model-process.log"


def find_config(named: Path | None = None) -> Path:
    """The configuration file: as named, $REFLEXD_CONFIG, ./reflexd.toml, then the XDG configuration folder.

    Raises:
        NoInputError: None of these is there.
    """
    if named is not None or (named := _from_environment()) is not None:
        if not named.is_file():
            raise NoInputError(f"{named}: no such configuration file; `reflexd init --dir {named.parent}` makes one")
        return named.resolve()
    user = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "reflexd" / CONFIG_NAME
    for candidate in (Path(CONFIG_NAME), user):
        if candidate.is_file():
            return candidate.resolve()
    raise NoInputError(
        f"no configuration: neither ./{CONFIG_NAME} nor {user} is there; "
        "`reflexd init` makes one here, `--config FILE` names another"
    )


def find_home(named: Path | None = None) -> Home:
    """The home that the configuration file describes; reads only its `state_dir` key.

    Raises:
        NoInputError: There is no configuration file.
        ConfigError: The file is not TOML, or `state_dir` is not a text.
    """
    config = find_config(named)
    state = os.environ.get("REFLEXD_STATE_DIR") or read_toml(config).get("state_dir", "state")
    if not isinstance(state, str) or not state:
        raise ConfigError(f"{config}: state_dir: must be the path of a folder, as text")
    return Home(config=config, state=(config.parent / Path(state).expanduser()).absolute())


def read_toml(path: Path) -> dict[str, object]:
    """The file as a dict.

    Raises:
        ConfigError: It is not TOML; the message has line and column.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}; correct the file") from None
    except OSError as error:
        raise NoInputError(f"{path}: cannot be read: {error.strerror}; check its permissions") from None


def _from_environment() -> Path | None:
    value = os.environ.get("REFLEXD_CONFIG")
    return Path(value) if value else None
