"""From a text such as ``tensorboard:runs/logs`` to a logger."""

from equipoise.errors import EquipoiseError, did_you_mean
from equipoise.tracking.logger import Logger
from equipoise.tracking.mlflow import MLflow
from equipoise.tracking.tensorboard import TensorBoard
from equipoise.tracking.wandb import WeightsAndBiases

__all__ = ["load_logger"]

_KINDS = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases, "mlflow": MLflow}


def load_logger(text: str) -> Logger:
    """The logger of ``tensorboard[:FOLDER]``, ``wandb[:PROJECT]`` or ``mlflow[:URI]``.

    Its package is imported, so that one that is missing is found before the work begins.

    Raises:
        EquipoiseError: for another kind, or a package that cannot be imported.
    """
    kind, _, where = text.partition(":")
    if kind not in _KINDS:
        raise EquipoiseError(
            f"Cannot log to {text!r}: there is no logger of that kind. {did_you_mean(kind, _KINDS)}"
        )
    logger = _KINDS[kind](where) if where else _KINDS[kind]()
    logger.package()
    return logger
