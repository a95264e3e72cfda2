"""The transmitter of TaiChi: visual tokens, token encoder and channel encoder, eqs. (11) to (13).

Shapes: ``B`` batch, ``S`` tokens, ``D`` features of a token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ...answers import IGNORED
from ...datasets.samples import Samples
from ...devices import pick_device
from ...features import FeatureStore, open_features
from ...foundation import concatenate, positions_of
from ..base import FeatureFolders
from ..sides import STATION, Transmitter
from ..streams import Feedback
from ..tokens import pack
from .codec import ChannelEncoder, scale_frames
from .language import LanguageLayers, Memory
from .names import CODEC, CODING, DIALOGUE, OFF_AIR, PROMPT, STATES, VISUAL
from .parameters import check_loaded, is_language, load_weights, named_weights, require
from .prompts import Words
from .visual import KeptTokens, VisualTokens

if TYPE_CHECKING:
    from .system import Taichi

_Sent = tuple[tuple[Tensor, ...], tuple[Tensor, Tensor]]
"""Inputs of a prompt; its states, and which are valid."""
_NOTHING: _Sent = (), (torch.empty(0), torch.empty(0))


class TaichiTransmitter(Transmitter):
    """Turns the terminal's image and instruction into symbols.

    Its layers of the language model are those that the base station has tuned: weights that its own
    file lacks are loaded from the base station's file, which lies beside it.

    Args:
        system: Settings of the system.
        queries: Rows and columns of the visual tokens before the projector; None sends no image.
        features: Feature stores of each split, ``low``, ``high`` or both, as they are read.
        learnt_in: Names of the system's phases.
        torch_device: Torch device or ``auto``.
    """

    def __init__(
        self,
        system: Taichi,
        queries: tuple[int, int] | None,
        features: FeatureFolders,
        learnt_in: Sequence[str],
        torch_device: str,
    ) -> None:
        super().__init__()
        self._system = system
        self._device = pick_device(torch_device)
        opened = {f: open_features(f) for own in features.values() for f in own.values()}
        self._stores = {
            name: {split: opened[folder] for split, folder in own.items()}
            for name, own in features.items()
        }
        self._words = Words(system.models.language, system.order, system.instruction_tokens)
        self.visual: VisualTokens | None = None
        self._kept: KeptTokens | None = None
        if queries is not None:
            grids = zip(("low", "high"), system.models.grids(), strict=True)
            self._places = {name: grid.rows * grid.columns for name, grid in grids}
            self.visual = VisualTokens(system, queries)
            self._kept = KeptTokens(self.visual, self._frozen)
        self._learns_visual = self._sends_targets = False
        self.encoder = ChannelEncoder(system.codec, system.token_width)
        self.language = LanguageLayers(
            system.models.language,
            torch_device,
            layers=system.layers_below,
            lora=system.adapter,
            single_precision=system.language_tuning == "full",
        )
        self.to(self._device)
        self._language_moves_on = False
        self._memory: Memory | None = None
        self._place = torch.empty(0)
        self._forget()
        require(self, [p for phase in learnt_in for p in self.trainable(phase)])

    def trainable(self, phase: str) -> list[nn.Parameter]:
        """The parameters that a phase trains.

        Off the air, these are BAN and projector. Over the air, it is the channel encoder, and under
        joint coding also BAN, projector and adapter.
        """
        visual = [] if self.visual is None else list(self.visual.parameters())
        encoder = list(self.encoder.parameters())
        if phase in OFF_AIR:
            return visual
        if self._joint(phase):
            return visual + encoder + self.language.adapter()
        return encoder

    def _joint(self, phase: str) -> bool:
        return phase == CODING and self._system.coding == "joint"

    def begin(self, phase: str) -> None:
        super().begin(phase)
        self.language.eval()  # some models have dropout, which no seed reaches here
        self._learns_visual = phase in OFF_AIR or self._joint(phase)
        self._sends_targets = phase == CODEC
        self._forget()
        # Off the air the language model is trained at the base station alone.
        self._language_moves_on = phase in OFF_AIR
        require(self, self.trainable(phase))

    def set_length(self, count: int) -> None:
        assert self.visual is not None, "a reference has no visual tokens"
        self.visual.queries = self._system.queries(count)

    def read(self, stream: str, split: str, samples: Samples) -> tuple[Tensor, ...]:
        """Image tokens, which samples have an image, and token ids of the texts.

        Image tokens are the encoders' frozen tokens, or the visual tokens made of them if BAN and
        projector do not learn.
        """
        image = self._image(split, samples)
        if stream == VISUAL:
            return image
        system = self._system
        instructions = samples["instruction"]
        if "caption" in system.intact_texts:
            script = self._words.prompts(instructions, samples["caption"], system.caption_tokens)
        else:
            script = self._words.prompts(instructions)
        texts = [script.before, script.after]
        if stream == DIALOGUE:
            texts.append(self._words.answer_inputs(samples.answer, system.answer_tokens))
        return (*image, *(text.to(self._device) for text in texts))

    def _image(self, split: str, samples: Samples) -> tuple[Tensor, ...]:
        if self._kept is None:
            return ()
        names = samples.media_id
        present = self._images[split].present(names)
        if self._keeps:
            tokens: tuple[Tensor, ...] = (self._kept.select(split, names, present.tolist()),)
        else:
            tokens = self._frozen(split, names)
        return (*tokens, present.to(self._device))

    @property
    def _keeps(self) -> bool:
        """Whether visual tokens are kept, rather than computed each time they are sent."""
        most = max(len(store.row) for store in self._images.values())
        return not self._learns_visual and self._kept is not None and self._kept.fit(most)

    @property
    def _images(self) -> Mapping[str, FeatureStore]:
        """A store of each split, to tell which images there are."""
        return next(iter(self._stores.values()))

    def _frozen(self, split: str, names: Sequence[str]) -> tuple[Tensor, ...]:
        """Frozen tokens of the encoders."""
        return tuple(
            own[split].select(names, self._places[encoder]).to(self._device)
            for encoder, own in self._stores.items()
        )

    def forward(self, stream: str, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        if stream == VISUAL:
            return pack(*self._visual(*inputs))
        texts = 3 if stream == DIALOGUE else 2
        image, words = inputs[:-texts], inputs[-texts:]
        if stream == STATES:
            return pack(*self._target(image, words))
        if stream == PROMPT and self._system.in_rounds and not torch.is_grad_enabled():
            self._memory = Memory(first=0)
            states, valid = self._states(image, words, self._memory)
            self._place = valid.sum(1, keepdim=True)
        else:
            states, valid = self._states(image, words)
        if self._sends_targets:
            self._latest = (*image, *words), (states.detach(), valid)
        symbols, marks = self.encoder(states, valid)
        if stream == DIALOGUE and not self._system.sends_scale:
            own = self.encoder.symbols_per_token
            symbols = scale_frames(symbols, marks, own * (states.shape[1] - words[2].shape[1]), own)
        return symbols, marks

    @torch.no_grad()
    def reply(self, feedback: Feedback) -> tuple[Tensor, Tensor]:
        """Sends the states of generated tokens under relay; they see the prompt and each other."""
        assert self._memory is not None, "a prompt comes first"
        rows = feedback.rows.to(self._device)
        if self._memory.valid is not None:
            self._memory.keep(rows)
        self._place = self._place[rows]
        embedded = self.language.embed(feedback.values.to(self._device)[:, None])
        valid = torch.ones_like(self._place, dtype=torch.bool)
        states = self.language(embedded, valid, self._place, memory=self._memory)
        self._place = self._place + 1
        symbols: tuple[Tensor, Tensor] = self.encoder(states, valid)
        return symbols

    def _visual(self, *image: Tensor) -> tuple[Tensor, Tensor]:
        """Visual tokens ``[B, S, D]`` and which samples have them, ``[B, S]``."""
        assert self.visual is not None
        *inputs, present = image
        tokens = inputs[0] if self._keeps else self.visual(*inputs)
        return tokens, present[:, None].expand(tokens.shape[:2])

    @torch.no_grad()
    def _target(self, image: Sequence[Tensor], words: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """States of a prompt as the codec's target.

        Those that were just sent are reused if they are of the same prompt.
        """
        inputs, states = self._latest
        asked = (*image, *words)
        if len(inputs) == len(asked) and all(map(torch.equal, inputs, asked)):
            return states
        return self._states(image, words)

    def _states(
        self, image: Sequence[Tensor], words: Sequence[Tensor], memory: Memory | None = None
    ) -> tuple[Tensor, Tensor]:
        """Eq. (12): states of the prompt, padded on the left, and of the answer if one follows."""
        before, after, *answers = words
        parts = [self._embedded(before), self._embedded(after)]
        if image:
            parts.insert(1, self._visual(*image))
        tokens, valid = concatenate(parts, trim=True)
        if answers:
            said, marks = self._embedded(answers[0])
            tokens, valid = torch.cat([tokens, said], 1), torch.cat([valid, marks], 1)
        states: Tensor = self.language(tokens, valid, positions_of(valid), memory=memory)
        return states, valid

    def _embedded(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        valid = ids != IGNORED
        return self.language.embed(ids.clamp(min=0)).float(), valid

    def trained_state(self) -> dict[str, Tensor]:
        """The terminal's own parts, and its language model unless the base station tunes that."""
        kept = {**self._own(), **({} if self._language_moves_on else self._language())}
        return {name: p.detach().cpu().clone() for name, p in kept.items()}

    def load(self, folder: Path, name: str) -> None:
        self._forget()
        wanted = {**self._own(), **self._language()}
        found, others = load_weights(folder / f"{name}.safetensors", wanted)
        station = folder / f"{STATION}.safetensors"
        if station.is_file():
            rest = {n: p for n, p in wanted.items() if n not in found and is_language(n)}
            found |= load_weights(station, rest)[0]
        check_loaded(wanted, found, others)

    def follow(self, station: Mapping[str, Tensor]) -> None:
        """Takes over the layers of the language model, or the adapter, that were tuned."""
        whole = self._system.language_tuning == "full"
        for name, parameter in self._language().items():
            if ("lora_" in name) != whole:
                parameter.data.copy_(station[name])
        self._forget()

    def _forget(self) -> None:
        """Forgets what earlier weights have made of images and prompts."""
        if self._kept is not None:
            self._kept.forget()
        self._latest = _NOTHING

    def _own(self) -> dict[str, nn.Parameter]:
        return {n: p for n, p in named_weights(self).items() if not is_language(n)}

    def _language(self) -> dict[str, nn.Parameter]:
        """The language model's parameters that some phase of the base station trains."""
        whole = self._system.language_tuning == "full"
        return {
            n: p
            for n, p in named_weights(self).items()
            if is_language(n) and (whole or "lora_" in n)
        }
