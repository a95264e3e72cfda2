"""Attribute accuracy of what is drawn, with and without refinement."""

from __future__ import annotations

from collections.abc import Sequence

from ..datasets.miniclevr.drawing import DRAWN_PIXELS, Wish
from .judge import Judge, Verdict, judge_wish
from .pipeline import ImageGenerator, Sampling
from .refinement import PromptRefiner

PROMPTS = ("chance", "wish", "draft", "refined", "caption")
"""Names of what is compared.

``wish`` is the user's own text, ``draft`` the language model's preliminary text, ``refined`` the
prompt that the model makes of it, and ``caption`` the exact caption of what is wished for.
``chance`` judges the pictures drawn from captions by the wish of another picture.
"""

EVALUATION_SEED = 1
"""Keeps the wishes of an evaluation apart from the noise that they are drawn from."""


def evaluate(
    generator: ImageGenerator,
    refiner: PromptRefiner,
    judge: Judge,
    wishes: Sequence[Wish],
    seed: int,
    sampling: Sampling | None = None,
) -> dict[str, list[Verdict]]:
    """Draws each wish from four prompts with the same noise, and judges the pictures.

    Returns:
        The verdicts on all wishes for each of :data:`PROMPTS`.

    Raises:
        ValueError: if the pictures do not have the size that the judge sees.
    """
    refined = refiner.refine([wish.text for wish in wishes])
    prompts = {
        "wish": [wish.text for wish in wishes],
        "draft": [result.draft for result in refined],
        "refined": [result.prompt for result in refined],
        "caption": [wish.caption for wish in wishes],
    }
    seen = {}
    for name, texts in prompts.items():
        pictures = generator.draw(texts, seed, sampling)
        height, width = pictures[0].shape[:2]
        if (height, width) != (DRAWN_PIXELS, DRAWN_PIXELS):
            raise ValueError(
                f"the judge sees pictures of {DRAWN_PIXELS} x {DRAWN_PIXELS} pixels, not of "
                f"{width} x {height}; evaluate with the pipeline 'pocket-drawing'"
            )
        seen[name] = judge.see(pictures)
    others = [*wishes[1:], *wishes[:1]]
    compared = {"chance": ("caption", others), **{name: (name, wishes) for name in prompts}}
    return {
        name: [judge_wish(*pair) for pair in zip(seen[drawn], truth, strict=True)]
        for name, (drawn, truth) in compared.items()
    }
