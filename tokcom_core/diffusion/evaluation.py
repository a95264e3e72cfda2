"""Attribute accuracy of what is drawn, with and without refinement."""

from __future__ import annotations

from collections.abc import Sequence

from ..datasets.miniclevr.drawing import DRAWN_PIXELS, Wish
from .judge import Judge, Verdict, judge_wish
from .pipeline import ImageGenerator, Sampling
from .refinement import PromptRefiner

PROMPTS = ("chance", "wish", "draft", "refined", "caption")
"""What is compared. ``wish`` is drawn as the user says it, ``draft`` is the language model's
preliminary text, ``refined`` its prompt, ``caption`` the exact one of the truth; ``chance`` judges
the pictures of captions by another wish."""

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
    """Draws each wish from four prompts and the same noise; a verdict for each of :data:`PROMPTS`.

    Raises:
        ValueError: if the pictures have not the size that the judge sees.
    """
    refined = refiner.refine([wish.text for wish in wishes])
    prompts = {
        "wish": [wish.text for wish in wishes],
        "draft": [found.draft for found in refined],
        "refined": [found.prompt for found in refined],
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
    asked = {"chance": ("caption", others), **{name: (name, wishes) for name in prompts}}
    return {
        name: [judge_wish(*pair) for pair in zip(seen[drawn], truth, strict=True)]
        for name, (drawn, truth) in asked.items()
    }
