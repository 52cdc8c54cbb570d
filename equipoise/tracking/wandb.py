"""Runs in Weights & Biases, offline unless there is a key to an account."""

import netrc
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from equipoise.errors import EquipoiseError, import_extra
from equipoise.tracking.logger import Status

__all__ = ["WeightsAndBiases"]

_MODE, _KEYS = "WANDB_MODE", ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")


@dataclass
class WeightsAndBiases:
    """Makes each piece of work a run of a project.

    ``WANDB_MODE`` and the other variables of the package have their usual say. Where ``WANDB_MODE`` is not set and no
    key is found in ``WANDB_API_KEY`` or a netrc file, runs are kept offline in ``runs/wandb``, or in ``WANDB_DIR``;
    nobody is ever asked for a key.

    Arguments:
        project: of the runs.
    """

    project: str = "equipoise"

    def package(self) -> ModuleType:
        """The package behind it.

        Raises:
            EquipoiseError: when it cannot be imported.
        """
        return import_extra("wandb", extra="wandb", feature="Logging to Weights & Biases")

    def start(self, name: str, settings: Mapping[str, Any], key: str) -> None:
        """Opens the run of that key, or goes on with it.

        Raises:
            EquipoiseError: when ``WANDB_MODE=online`` asks for an account and there is no key.
        """
        mode = None
        if not _has_key() and os.environ.get(_MODE, "") in ("", "online", "shared"):
            if os.environ.get(_MODE):
                raise EquipoiseError(
                    f"Cannot log to Weights & Biases with {_MODE}={os.environ[_MODE]}: there is no key. Set "
                    f"{_KEYS[0]}, run wandb login, or unset {_MODE} to log offline."
                )
            mode = "offline"
            # Reports of errors would be sent from offline runs too.
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
            print(
                "Weights & Biases: no key found, so runs stay offline; wandb sync sends them when you like.",
                file=sys.stderr,
            )
        where = None
        if "WANDB_DIR" not in os.environ:
            where = "runs"
            Path(where).mkdir(exist_ok=True)
        self._run = self.package().init(
            project=self.project,
            name=name,
            id=key,
            resume="allow",
            config=dict(settings),
            dir=where,
            mode=mode,
            reinit="create_new",
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Logs the values at the step."""
        self._run.log(dict(values), step=step)

    def finish(self, status: Status) -> None:
        """Ends the run: as one that failed unless it finished."""
        self._run.finish(exit_code=0 if status == "finished" else 1)


def _has_key() -> bool:
    if any(os.environ.get(name) for name in _KEYS):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").hostname or ""
    named = os.environ.get("NETRC")
    files = [Path(named)] if named else [Path.home() / name for name in (".netrc", "_netrc")]
    for file in files:
        try:
            if netrc.netrc(file).authenticators(host):
                return True
        except (OSError, netrc.NetrcParseError):
            continue
    return False
