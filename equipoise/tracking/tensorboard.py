"""Event files for TensorBoard: ``tensorboard --logdir runs/tensorboard``."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from equipoise.errors import import_extra
from equipoise.tracking.logger import Status

__all__ = ["TensorBoard"]


@dataclass
class TensorBoard:
    """Writes each piece of work into ``folder/NAME-KEY``.

    Arguments:
        folder: of all of them.
    """

    folder: str = "runs/tensorboard"

    def package(self) -> ModuleType:
        """The package behind it.

        Raises:
            EquipoiseError: when it cannot be imported.
        """
        return import_extra(
            "torch.utils.tensorboard", extra="tensorboard", feature="Logging to TensorBoard"
        )

    def start(self, name: str, settings: Mapping[str, Any], key: str) -> None:
        """Opens an event file, and writes the settings into the first of a folder."""
        readable = "".join(c if c.isalnum() or c in "-._" else "_" for c in name)[:80]
        folder = Path(self.folder).expanduser() / f"{readable}-{key}"
        known = folder.exists()
        self._writer = self.package().SummaryWriter(str(folder))
        if not known:
            text = json.dumps(dict(settings), indent=2, default=str)
            # Four blanks make each line code in Markdown, whatever stands in it.
            code = "\n".join(f"    {line}" for line in text.splitlines())
            self._writer.add_text("settings", f"{name!r}\n\n{code}")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Writes a scalar for each value."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        # What was logged counts as told, so it has to be in the file.
        self._writer.flush()

    def finish(self, status: Status) -> None:
        """Closes the file."""
        self._writer.add_text("status", status)
        self._writer.close()
