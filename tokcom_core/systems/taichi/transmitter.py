"""The transmitter of TaiChi: visual tokens, token encoder and channel encoder, eqs. (11) to (13).

Shapes: ``B`` batch, ``S`` tokens, ``D`` features of a token.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ...datasets.samples import Samples
from ...devices import pick_device
from ...features import open_features
from ...foundation import concatenate
from ..base import STATION, FeatureFolders, Transmitter
from ..streams import Feedback
from .codec import ChannelEncoder
from .decoding import IGNORED
from .fusion import build_fusion
from .language import LanguageLayers, Memory, positions_of
from .names import CODING, DIALOGUE, OFF_AIR, PROMPT, STATES, VISUAL
from .parameters import is_language, load_weights, named_weights, require
from .projectors import build_projector
from .prompts import Words

if TYPE_CHECKING:
    from .system import Taichi


class TaichiTransmitter(Transmitter):
    """Image and instruction of the terminal, up to the symbols.

    Its layers of the language model are those that the base station has tuned: what its own file
    does not hold is loaded from the base station's, which lies beside it.

    Args:
        system: Settings of the system.
        queries: Rows and columns of the visual tokens before the projector; None sends no image.
        features: Feature stores ``low`` and ``high`` of each split.
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
        self._queries = queries
        self._device = pick_device(torch_device)
        opened = {f: open_features(f) for own in features.values() for f in own.values()}
        self._stores = {
            name: {split: opened[folder] for split, folder in own.items()}
            for name, own in features.items()
        }
        self._words = Words(system.models.language, system.order, system.instruction_tokens)
        self.visual = nn.ModuleList()  # BAN and projector
        width = system.token_width
        if queries is not None:
            low, high = system.models.grids()
            self._places = {"low": low.rows * low.columns, "high": high.rows * high.columns}
            fusion = build_fusion(system.fusion, low, high)
            self.visual += [fusion, build_projector(system.projector, fusion.width, width)]
        self.encoder = ChannelEncoder(system.codec, width)
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
        require(self, [p for phase in learnt_in for p in self.trainable(phase)])

    def trainable(self, phase: str) -> list[nn.Parameter]:
        """BAN and projector off the air; then the channel encoder, or all three and the adapter."""
        visual, encoder = list(self.visual.parameters()), list(self.encoder.parameters())
        if phase in OFF_AIR:
            return visual
        if phase == CODING and self._system.coding == "joint":
            return visual + encoder + self.language.adapter()
        return encoder

    def begin(self, phase: str) -> None:
        super().begin(phase)
        # Off the air the language model is trained at the base station alone.
        self._language_moves_on = phase in OFF_AIR
        require(self, self.trainable(phase))

    def read(self, stream: str, split: str, samples: Samples) -> tuple[Tensor, ...]:
        """Frozen tokens of both encoders and which samples have an image; then token ids."""
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
            texts.append(self._words.answers(samples.answer, system.answer_tokens)[:, :-1])
        return (*image, *(text.to(self._device) for text in texts))

    def _image(self, split: str, samples: Samples) -> tuple[Tensor, ...]:
        if self._queries is None:
            return ()
        names = samples.media_id
        stores = {name: own[split] for name, own in self._stores.items()}
        tokens = [stores[name].select(names, count) for name, count in self._places.items()]
        return tuple(t.to(self._device) for t in (*tokens, stores["low"].present(names)))

    def forward(self, stream: str, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        if stream == VISUAL:
            return self._packed(*self._visual(*inputs))
        if stream == STATES:
            with torch.no_grad():
                return self._packed(*self._states(inputs))
        if stream == PROMPT and self._system.in_rounds and not torch.is_grad_enabled():
            self._memory = Memory(first=0)
            states, valid = self._states(inputs, self._memory)
            self._place = valid.sum(1, keepdim=True)
        else:
            states, valid = self._states(inputs)
        symbols: tuple[Tensor, Tensor] = self.encoder(states, valid)
        return symbols

    @torch.no_grad()
    def reply(self, feedback: Feedback) -> tuple[Tensor, Tensor]:
        """Relay: the states of generated tokens, which see the prompt and each other."""
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

    def _visual(self, low: Tensor, high: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Eq. (11): visual tokens ``[B, S, D]`` and which samples have them, ``[B, S]``."""
        fusion, projector = self.visual
        tokens = projector(fusion(low, high, self._queries))
        return tokens, present[:, None].expand(tokens.shape[:2])

    def _states(
        self, inputs: Sequence[Tensor], memory: Memory | None = None
    ) -> tuple[Tensor, Tensor]:
        """Eq. (12): states of the prompt, padded on the left, and of the answer, if it follows."""
        image, (before, after, *answers) = (
            (inputs[:3], inputs[3:]) if self._queries is not None else ((), inputs)
        )
        parts = [self._embedded(before), self._embedded(after)]
        if image:
            parts.insert(1, self._visual(*image))
        tokens, valid = concatenate(parts)
        if answers:
            said, marks = self._embedded(answers[0])
            tokens, valid = torch.cat([tokens, said], 1), torch.cat([valid, marks], 1)
        states: Tensor = self.language(tokens, valid, positions_of(valid), memory=memory)
        return states, valid

    def _embedded(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        valid = ids != IGNORED
        return self.language.embed(ids.clamp(min=0)).float(), valid

    def _packed(self, tokens: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens as they are, two features a symbol."""
        pairs = tokens.float().reshape(len(tokens), -1, 2).contiguous()
        return torch.view_as_complex(pairs), valid.repeat_interleave(tokens.shape[2] // 2, dim=1)

    def trained_state(self) -> dict[str, Tensor]:
        """All but the language model, and that as well unless the base station is tuning it."""
        kept = {**self._own(), **({} if self._language_moves_on else self._language())}
        return {name: p.detach().cpu().clone() for name, p in kept.items()}

    def load(self, folder: Path, name: str) -> None:
        language = self._language()
        found = load_weights(folder / f"{name}.safetensors", {**self._own(), **language})
        station = folder / f"{STATION}.safetensors"
        if station.is_file():
            missing = {n: p for n, p in language.items() if n not in found}
            load_weights(station, missing)

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
