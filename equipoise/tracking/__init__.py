"""What tells others how a training or an audit goes: TensorBoard, Weights & Biases, MLflow, or a logger of your own.

``metrics.jsonl`` and the run folder are written in any case. Nothing is sent anywhere unless a logger was asked for.
"""

from equipoise.tracking.loading import load_logger
from equipoise.tracking.logger import Logger, Status
from equipoise.tracking.mlflow import MLflow
from equipoise.tracking.tensorboard import TensorBoard
from equipoise.tracking.trail import TrackingWarning, Trail
from equipoise.tracking.wandb import WeightsAndBiases

__all__ = [
    "Logger",
    "Status",
    "load_logger",
    "TensorBoard",
    "WeightsAndBiases",
    "MLflow",
    "Trail",
    "TrackingWarning",
]
