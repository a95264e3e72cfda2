"""The two sides of a system: transmitters on devices, a receiver at the base station.

Shapes: ``B`` samples of a batch, ``N`` complex symbols of a stream.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..datasets.samples import Samples
from ..storage import check_saved
from .streams import Feedback, Received

STATION = "station"
"""Name under which the base station saves its side, beside those of the devices."""


@dataclass(frozen=True)
class Predictions:
    """Predicted answers to a batch.

    Attributes:
        texts: Text of each answer.
        first_token: Whether the first token of each answer is that of the true answer, which is
            what paper 1 counts.
        losses: Mean losses of the true answers: ``task``, ``first_token``, or others of the last
            phase.
        loss_counts: Number of values that a loss is the mean of, by the loss's name. Only losses
            that average something other than samples, such as answer tokens, have one.
    """

    texts: tuple[str, ...]
    first_token: tuple[bool, ...]
    losses: dict[str, float]
    loss_counts: dict[str, int] = field(default_factory=dict)


class Trained(nn.Module):
    """One side of the split: its trainable parameters and their files."""

    @abstractmethod
    def trainable(self, phase: str) -> list[nn.Parameter]:
        """The parameters that a phase trains; may be none."""

    def begin(self, phase: str) -> None:
        """Prepares for a phase; by default, sets the modules to training mode."""
        self.train()

    def trained_state(self) -> dict[str, Tensor]:
        """Every tensor that some phase trains, by name, on the CPU."""
        return {
            name: p.detach().cpu().clone() for name, p in self.named_parameters() if p.requires_grad
        }

    def save(self, folder: Path, name: str) -> None:
        """Saves :meth:`trained_state` as safetensors."""
        state = {key: value.contiguous() for key, value in self.trained_state().items()}
        save_file(state, folder / f"{name}.safetensors")

    def load(self, folder: Path, name: str) -> None:
        """Loads what :meth:`save` saved.

        Raises:
            ValueError: for the weights of another network, or not all of this one's.
        """
        trained = {key: p for key, p in self.named_parameters() if p.requires_grad}
        saved = load_file(folder / f"{name}.safetensors")
        check_saved(saved, trained)
        for key, value in saved.items():
            trained[key].data.copy_(value)


class Transmitter(Trained, ABC):
    """The side of a device: frozen tokens in, symbols out."""

    @abstractmethod
    def read(self, stream: str, split: str, samples: Samples) -> tuple[Tensor, ...]:
        """Frozen inputs of a batch, each ``[B, ...]``."""

    def set_length(self, count: int) -> None:
        """Sets the token length of all that is read and sent from now on.

        See :attr:`System.ANY_LENGTH`.
        """
        raise NotImplementedError(f"{type(self).__name__} has one token length")

    def follow(self, station: Mapping[str, Tensor]) -> None:
        """Takes over weights from the base station's trained state, see :meth:`System.follows`."""
        raise NotImplementedError(f"{type(self).__name__} follows no phase")

    @abstractmethod
    def forward(self, stream: str, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Symbols of any power, complex64 ``[B, N]``, and which are valid, bool ``[B, N]``."""

    def reply(self, feedback: Feedback) -> tuple[Tensor, Tensor]:
        """Symbols ``[A, N]`` of the next round and which are valid, see :meth:`System.in_rounds`.

        The samples are some of those that were sent last. Replies are never trained on.
        """
        raise NotImplementedError(f"{type(self).__name__} sends everything in one round")


class Receiver(Trained, ABC):
    """The side of the base station: received streams in, losses or answers out."""

    def calibrate(self, phase: str, received: Mapping[str, Received]) -> None:
        """Adapts to some samples of a phase, before its first step."""

    @abstractmethod
    def losses(
        self, phase: str, received: Mapping[str, Received], targets: Mapping[str, Samples]
    ) -> dict[str, Tensor]:
        """Losses of one step: their sum is minimised; a detached loss is only reported.

        Args:
            phase: Name of the phase.
            received: Received streams by name.
            targets: Samples of the batch by split.
        """

    def loss_counts(self, phase: str, targets: Mapping[str, Samples]) -> dict[str, int]:
        """Number of values that each of :meth:`losses` is the mean of, by the loss's name.

        Losses that are means over samples are left out. The counts weigh the losses of a batch's
        parts when they are combined into that of the batch, see :attr:`Phase.micro_batch_size`.

        Args:
            phase: Name of the phase.
            targets: Samples of the part by split; all of them are taken to arrive.
        """
        return {}

    def embeddings(self, received: Mapping[str, Received]) -> dict[str, Tensor]:
        """Embeddings ``[B, D]`` of streams that a phase aligns, see :attr:`Phase.aligned`.

        The phase's losses compare them by the cosine of the angle between them.
        """
        raise NotImplementedError(f"{type(self).__name__} aligns no streams")

    @abstractmethod
    def predict(
        self, received: Mapping[str, Received], targets: Samples, asked: Tensor
    ) -> Predictions | Feedback:
        """Answers the samples that are ``asked``, bool ``[B]``; targets only score the answers.

        The losses are those of the same samples. A system that answers in rounds may return
        feedback instead, which a device needs to go on.
        """

    def resume(self, received: Mapping[str, Received]) -> Predictions | Feedback:
        """Goes on with the answers, given the device's reply to the last feedback."""
        raise NotImplementedError(f"{type(self).__name__} answers in one round")

    def prepare(self, train: Samples) -> None:
        """Takes what it needs from the training split, such as its answers.

        This is called once, after the receiver is built.
        """
