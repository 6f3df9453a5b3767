"""The systemd unit that runs reflexd beside an agent: for the machine, or for one user's own systemd.

Only keys that systemd 247 and later know, so that nothing is ignored silently: `systemd-analyze verify` exits 0 on a
misspelt key, and says so on standard error alone. What would break torch is left out on purpose: MemoryDenyWriteExecute
(its compilers write code), PrivateDevices and ProtectClock (they hide GPUs), ProcSubset (it hides /proc/cpuinfo).
"""

import os
import pwd
from collections.abc import Mapping
from pathlib import Path

from daemon.durable import write_durably
from daemon.errors import UsageError

SERVICE = "reflexd.service"

_UNIT = """\
[Unit]
Description=reflexd: learns steering vectors from an agent's memory
StartLimitIntervalSec=300
StartLimitBurst=5

[Service]
Type=notify
NotifyAccess=main
ExecStart={executable} --config {config} run
ExecReload=/bin/kill -HUP $MAINPID
{identity}\
Environment=HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false

# Started: migrated and looked into its store. Stopping: a training goes back to the queue.
TimeoutStartSec=600
WatchdogSec=180
KillMode=mixed
KillSignal=SIGTERM
TimeoutStopSec=90
Restart=on-failure
RestartSec=10
# A wrong command line or configuration does not get better by trying again.
RestartPreventExitStatus=64 78

# The agent comes first.
Nice=10
CPUWeight=20
IOSchedulingClass=idle
OOMScoreAdjust=500

{hardening}
[Install]
WantedBy={target}
"""

_HARDENING = """\
# No network, no new rights; it writes to its state folder and nowhere else.
NoNewPrivileges=yes
UMask=0027
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
"""

# A user's systemd cannot give these without user namespaces, so only the machine's unit has them.
_SYSTEM_HARDENING = """\
CapabilityBoundingSet=
ProtectSystem=strict
ProtectHome=read-only
ReadWritePaths={state_dir}
PrivateTmp=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictNamespaces=yes
RestrictAddressFamilies=AF_UNIX
IPAddressDeny=any
"""


def render_units(user: bool, executable: Path, config: Path, state_dir: Path) -> dict[str, str]:
    """File name → text. The machine's unit runs as the owner of `state_dir`, so that people can read what it writes.

    Raises:
        UsageError: A path is not absolute, or holds a line break, which no unit file can.
    """
    for path in (executable, config, state_dir):
        if not path.is_absolute() or "\n" in str(path):
            raise UsageError(f"{path!s}: a unit needs an absolute path without line breaks; name the file in full")
    hardening, identity = _HARDENING, ""
    if not user:
        hardening += _SYSTEM_HARDENING.format(state_dir=_quoted(state_dir))
        identity = f"User={_owner(state_dir)}\n"
    text = _UNIT.format(
        executable=_quoted(executable, command=True),
        config=_quoted(config, command=True),
        identity=identity,
        hardening=hardening,
        target="default.target" if user else "multi-user.target",
    )
    return {SERVICE: text}


def install_units(units: Mapping[str, str], user: bool, folder: Path | None = None) -> list[str]:
    """Write the files where systemd looks for them; what happened and what to do next, line by line.

    Raises:
        FullError: The folder cannot be written (the machine's needs root).
    """
    place = folder or unit_folder(user)
    lines = []
    for name, text in units.items():
        path = place / name
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            lines.append(f"{path}: up to date")
            continue
        write_durably(path, text.encode())
        lines.append(f"{path}: written")
    systemctl = "systemctl --user" if user else "systemctl"
    return [*lines, f"next: {systemctl} daemon-reload && {systemctl} enable --now {' '.join(units)}"]


def unit_folder(user: bool) -> Path:
    """Where a person's own units belong: the machine's, or the user's."""
    if not user:
        return Path("/etc/systemd/system")
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd" / "user"


def _quoted(path: Path, *, command: bool = False) -> str:
    """The path as one word of a unit file (systemd.syntax(7)): no specifier, no variable, spaces kept."""
    text = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    if command:
        text = text.replace("$", "$$")
    return f'"{text}"' if any(character in text for character in " \t'\"\\;") else text


def _owner(folder: Path) -> str:
    """Who owns `folder`, or its nearest parent that is there."""
    while not folder.exists():
        folder = folder.parent
    number = folder.stat().st_uid
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
