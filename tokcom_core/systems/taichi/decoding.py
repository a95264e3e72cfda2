"""The token decoder, eq. (15): how the receiver turns the prompt's states into an answer.

Shapes: ``B`` batch, ``S`` tokens of the prompt, ``A`` tokens of the answer with its end, ``D``
features of a token, ``V`` words of the vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...answers import IGNORED
from ...foundation import positions_of
from .language import LanguageLayers, Memory


@dataclass(frozen=True)
class Prompt:
    """States of prompts after the first k layers, padded on the left.

    Attributes:
        states: ``[B, S, D]``; zero where nothing arrived.
        sent: Which tokens were sent, bool ``[B, S]``; padding takes no place in the text.
        arrived: Which of them arrived, bool ``[B, S]``; the others are not attended to.
    """

    states: Tensor
    sent: Tensor
    arrived: Tensor

    def take(self, rows: Tensor) -> Prompt:
        """Some samples of the batch."""
        return Prompt(self.states[rows], self.sent[rows], self.arrived[rows])


def own_states(model: LanguageLayers, k: int, prompt: Prompt, answers: Tensor) -> Prompt:
    """The prompt followed by the states of its answer, for one-way decoding.

    The first k layers see the answer alone.

    Args:
        model: The receiver's language model.
        k: Number of layers at the transmitter.
        prompt: What the transmitter sent.
        answers: Token ids ``[B, A]``, ``IGNORED`` after the end; the last one needs no state.
    """
    known = answers[:, :-1]
    if not known.shape[1]:
        return prompt
    valid = known != IGNORED
    places = _places(prompt, known.shape[1])
    states = model(model.embed(known.clamp(min=0)), valid, places, last=k)
    return Prompt(
        torch.cat([prompt.states, states.to(prompt.states.dtype)], dim=1),
        torch.cat([prompt.sent, valid], dim=1),
        torch.cat([prompt.arrived, valid], dim=1),
    )


def answer_logits(model: LanguageLayers, k: int, whole: Prompt, count: int) -> Tensor:
    """Logits ``[B, A, V]`` at the places that predict an answer of ``count`` tokens.

    Args:
        model: The receiver's language model.
        k: Number of layers at the transmitter.
        whole: Prompt and answer without its last token.
        count: Number of tokens of the answer, A.
    """
    states = model(whole.states, whole.arrived, positions_of(whole.sent), first=k)
    return model.logits(states[:, -count:])


@dataclass
class Generation:
    """Generates greedy answers to a batch, token by token; keeps keys and values of seen tokens.

    Attributes:
        model: The receiver's language model.
        k: Number of layers at the transmitter.
        end: Token that ends an answer.
        longest: Maximum number of tokens of an answer.
        tokens: Generated tokens, ``[B, <= longest]``, ``end`` after the end.
        active: Samples whose answers go on, int64 ``[<= B]``; keys and values are kept for these.
        rows: Places of these samples among those that were active one token before.
    """

    model: LanguageLayers
    k: int
    end: int
    longest: int
    tokens: Tensor = field(init=False)
    active: Tensor = field(init=False)
    rows: Tensor = field(init=False)

    @torch.no_grad()
    def begin(self, prompt: Prompt) -> None:
        """Generates the first token after prompts."""
        batch, device = len(prompt.states), prompt.states.device
        self._below, self._above = Memory(first=0), Memory(first=self.k)
        self._place = prompt.sent.sum(1, keepdim=True)
        self.tokens = torch.empty(batch, 0, dtype=torch.long, device=device)
        self.active = torch.arange(batch, device=device)
        places = positions_of(prompt.sent)
        states = self.model(prompt.states, prompt.arrived, places, self.k, memory=self._above)
        self._choose(states)

    @property
    def latest(self) -> Tensor:
        """The last token of each active answer, ``[<= B]``."""
        return self.tokens[self.active, -1]

    @torch.no_grad()
    def own_states(self) -> Tensor:
        """States ``[<= B, 1, D]`` of the latest tokens; the first k layers see answers alone."""
        embedded = self.model.embed(self.latest[:, None])
        valid = torch.ones_like(self._place, dtype=torch.bool)
        states: Tensor = self.model(embedded, valid, self._place, last=self.k, memory=self._below)
        return states

    @torch.no_grad()
    def step(self, states: Tensor, arrived: Tensor) -> None:
        """Generates one more token of each active answer.

        Args:
            states: States of the latest tokens after the first k layers, ``[<= B, 1, D]``.
            arrived: Whether they may be attended to, bool ``[<= B, 1]``.
        """
        states = self.model(states, arrived, self._place, self.k, memory=self._above)
        self._place = self._place + 1
        self._choose(states)

    def _choose(self, states: Tensor) -> None:
        """Appends the most likely tokens and keeps the answers that go on."""
        chosen = self.model.logits(states[:, -1]).argmax(-1)
        column = torch.full((len(self.tokens), 1), self.end, device=chosen.device)
        column[self.active, 0] = chosen
        self.tokens = torch.cat([self.tokens, column], dim=1)
        goes_on = chosen != self.end
        if self.tokens.shape[1] == self.longest:
            goes_on = torch.zeros_like(goes_on)
        self.rows = goes_on.nonzero()[:, 0]
        self.active = self.active[self.rows]
        if len(self.rows):
            self._place = self._place[self.rows]
            for memory in (self._below, self._above):
                if memory.valid is not None:
                    memory.keep(self.rows)


def generate(model: LanguageLayers, k: int, prompt: Prompt, end: int, longest: int) -> Tensor:
    """Greedy answers ``[B, <= longest]``, one-way: they pass the receiver's own first k layers."""
    generation = Generation(model, k, end, longest)
    generation.begin(prompt)
    while len(generation.active):
        states = generation.own_states()
        generation.step(states, torch.ones_like(states[..., 0], dtype=torch.bool))
    return generation.tokens


def _places(prompt: Prompt, count: int) -> Tensor:
    """Places in the text of ``count`` tokens after each prompt, ``[B, count]``."""
    steps = torch.arange(count, device=prompt.sent.device)
    return prompt.sent.sum(1, keepdim=True) + steps
