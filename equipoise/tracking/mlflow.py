"""Runs in MLflow: a server, or a database in this folder."""

import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from equipoise.errors import import_extra
from equipoise.tracking.logger import Status, flat

__all__ = ["MLflow"]

_KEY = "equipoise.key"
_STATUS = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
_MOST, _LONGEST = 100, 500
"""Parameters in a request, and letters in one of them, that every server takes."""


@dataclass
class MLflow:
    """Makes each piece of work a run of the experiment ``equipoise``, or ``MLFLOW_EXPERIMENT_NAME``.

    Arguments:
        uri: of the tracking server, such as ``http://localhost:5000`` or ``sqlite:///runs/mlflow.db``; MLflow's own
            choice, ``MLFLOW_TRACKING_URI`` before others, when empty.
    """

    uri: str = ""

    def package(self) -> ModuleType:
        """The package behind it, which sends no reports on its use unless ``MLFLOW_DISABLE_TELEMETRY`` allows it.

        Raises:
            EquipoiseError: when it cannot be imported.
        """
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        return import_extra("mlflow", extra="mlflow", feature="Logging to MLflow")

    def start(self, name: str, settings: Mapping[str, Any], key: str) -> None:
        """Makes a run, or goes on with the one of that key."""
        mlflow = self.package()
        self._client = mlflow.MlflowClient(tracking_uri=self.uri or None)
        self._metric = mlflow.entities.Metric
        called = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "equipoise"
        known = self._client.get_experiment_by_name(called)
        experiment = known.experiment_id if known else self._client.create_experiment(called)
        found = self._client.search_runs([experiment], f"tags.`{_KEY}` = '{key}'")
        if found:
            self._run = found[0].info.run_id
            self._client.update_run(self._run, status="RUNNING")
            return
        run = self._client.create_run(experiment, run_name=name, tags={_KEY: key})
        self._run = run.info.run_id
        params = [
            mlflow.entities.Param(_plain(name), text[:_LONGEST])
            for name, text in flat(settings).items()
        ]
        for first in range(0, len(params), _MOST):
            self._client.log_batch(self._run, params=params[first : first + _MOST])

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Logs the values at the step."""
        now = round(1000 * time.time())
        metrics = [self._metric(_plain(name), value, now, step) for name, value in values.items()]
        for first in range(0, len(metrics), _MOST):
            self._client.log_batch(self._run, metrics=metrics[first : first + _MOST])

    def finish(self, status: Status) -> None:
        """Ends the run."""
        self._client.set_terminated(self._run, _STATUS[status])


def _plain(name: str) -> str:
    """A name that MLflow takes: letters, digits and ``_-. /``, no empty or dotted parts between slashes."""
    parts = re.sub(r"[^\w\-. /]", "_", name, flags=re.ASCII).split("/")
    return "/".join(part if part.strip(". ") else f"_{part}" for part in parts)[:250]
