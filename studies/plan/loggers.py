"""Loggers that show a running study: Ray Tune's own, by name."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import BeforeValidator, Discriminator

from tokcom_core.config import Config


class TensorboardConfig(Config):
    """Event files in the study's folder."""

    package: ClassVar[str] = "tensorboardX"

    name: Literal["tensorboard"] = "tensorboard"


class MlflowConfig(Config):
    """Runs of an MLflow experiment.

    Attributes:
        tracking_uri: Tracking server or database. By default it is that of the environment variable
            ``MLFLOW_TRACKING_URI``, or without the variable a database in the study's folder.
        experiment: Name of the experiment; the study's by default.
    """

    package: ClassVar[str] = "mlflow"

    name: Literal["mlflow"] = "mlflow"
    tracking_uri: str | None = None
    experiment: str | None = None


class WandbConfig(Config):
    """Runs of a Weights & Biases project.

    Attributes:
        project: Name of the project; the study's by default.
        mode: ``offline`` keeps the runs in the study's folder. By default it is what the
            environment variable ``WANDB_MODE`` says, or without the variable ``online``.
    """

    package: ClassVar[str] = "wandb"

    name: Literal["wandb"] = "wandb"
    project: str | None = None
    mode: Literal["online", "offline"] | None = None


AnyLogger = TensorboardConfig | MlflowConfig | WandbConfig

PACKAGES = {config().name: config.package for config in get_args(AnyLogger)}
"""The package of each logger, by its name."""


def _as_mapping(value: Any) -> Any:
    """A bare name as a mapping; refuses unknown names."""
    raw = {"name": value} if isinstance(value, str) else value
    if isinstance(raw, Mapping) and raw.get("name") not in PACKAGES:
        raise ValueError(f"no logger {raw.get('name')!r}; take some of {', '.join(PACKAGES)}")
    return raw


NamedLogger = Annotated[AnyLogger, Discriminator("name"), BeforeValidator(_as_mapping)]
"""A logger of a study: its name, or a mapping with its name and settings."""


def one_of_each(loggers: tuple[AnyLogger, ...]) -> tuple[AnyLogger, ...]:
    """Refuses two loggers of one name: their packages have one connection in a process."""
    names = [logger.name for logger in loggers]
    if len(set(names)) < len(names):
        raise ValueError(f"names are repeated: {', '.join(names)}")
    return loggers


def check_package(logger: AnyLogger) -> None:
    """Raises ValueError if a logger's package is not installed."""
    if find_spec(logger.package) is None:
        raise ValueError(
            f"loggers: {logger.package} is not installed; pip install {logger.package}"
        )
