"""``tokcom draw``: draws a wish, which a language model rewrites as a prompt first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tokcom_core.storage import atomic_file, writing

from .printing import console, plain_table, print_table, quieten

if TYPE_CHECKING:
    from tokcom_core.diffusion.judge import Verdict
    from tokcom_core.diffusion.pipeline import ImageGenerator, Sampling


def draw(
    wish: Annotated[str | None, typer.Argument(help="What to draw, in words.")] = None,
    out: Annotated[Path | None, typer.Option(help="The picture; by default drawing.png.")] = None,
    refine: Annotated[
        bool, typer.Option("--refine/--no-refine", help="Rewrite the wish as a prompt first.")
    ] = True,
    evaluate: Annotated[
        int | None,
        typer.Option(min=2, help="Draw so many wishes instead, and judge what is drawn."),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, max=1000, help="Denoising steps.")] = 20,
    guidance: Annotated[
        float, typer.Option(min=1.0, help="Scale of classifier-free guidance.")
    ] = 2.0,
    diffusion: Annotated[
        str, typer.Option(help="A diffusers pipeline: a folder or a name of the Hub.")
    ] = "pocket-drawing",
    language: Annotated[
        str, typer.Option(help="The language model that refines: a folder or a name of the Hub.")
    ] = "pocket-images",
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Draws a wish, which a language model rewrites as a prompt first (extra 'diffusion')."""
    if (wish is None) == (evaluate is None):
        raise ValueError("tokcom draw takes either a WISH in quotes or --evaluate N")
    if evaluate is not None and not (out is None and refine):
        raise ValueError(
            "tokcom draw --evaluate draws with and without refinement and keeps no picture; leave "
            "out --out and --no-refine"
        )
    out = out or Path("drawing.png")
    if out.suffix.lower() not in ("", ".png"):
        raise ValueError(f"tokcom draw writes PNG; let --out {out} end in .png")

    from tokcom_core.diffusion.pipeline import ImageGenerator, Sampling

    quieten()
    generator, sampling = ImageGenerator(diffusion), Sampling(steps, guidance)
    if evaluate is not None:
        _evaluate(generator, language, evaluate, seed, sampling)
        return
    assert wish is not None
    prompt = _refine(wish, language) if refine else wish
    _write(generator, prompt, out, seed, sampling)


def _refine(wish: str, language: str) -> str:
    from tokcom_core.diffusion.refinement import PromptRefiner

    (refined,) = PromptRefiner(language).refine([wish])
    console.print(f"draft:  {refined.draft}", soft_wrap=True, highlight=False)
    return refined.prompt


def _write(
    generator: ImageGenerator, prompt: str, out: Path, seed: int, sampling: Sampling
) -> None:
    from PIL import Image

    (picture,) = generator.draw([prompt], seed, sampling)
    with writing(out), atomic_file(out) as partial:
        Image.fromarray(picture).save(partial, format="png")
    console.print(f"prompt: {prompt}", soft_wrap=True, highlight=False)
    console.print(str(out), soft_wrap=True, highlight=False)


def _evaluate(
    generator: ImageGenerator, language: str, count: int, seed: int, sampling: Sampling
) -> None:
    import numpy as np

    from tokcom_core.checkpoints import POCKET_DRAWING, pocket_folder
    from tokcom_core.datasets.miniclevr.drawing import sample_wish
    from tokcom_core.diffusion.evaluation import EVALUATION_SEED, evaluate
    from tokcom_core.diffusion.judge import load_judge
    from tokcom_core.diffusion.refinement import PromptRefiner

    rng = np.random.default_rng([seed, EVALUATION_SEED])
    wishes = [sample_wish(rng, held_out=True) for _ in range(count)]
    judge = load_judge(pocket_folder(POCKET_DRAWING) / "judge")
    _show(evaluate(generator, PromptRefiner(language), judge, wishes, seed, sampling), seed)


def _show(verdicts: dict[str, list[Verdict]], seed: int) -> None:
    import numpy as np

    from ..tables.statistics import mean_interval

    def interval(values: list[float], lowest: float = 0.0) -> str:
        asked = np.ones((1, len(values)), dtype=np.int64)
        bounds = mean_interval(np.array([values]), asked, lowest)
        return f"{bounds.low:.3f} to {bounds.high:.3f}"

    count = len(verdicts["wish"])
    shown = plain_table(
        "drawn from",
        "attributes right",
        "wishes fulfilled",
        "95 % interval",
        title=f"{count} wishes, seed {seed}",
    )
    fulfilled = {name: [float(v.fulfilled) for v in judged] for name, judged in verdicts.items()}
    for name, scores in fulfilled.items():
        attributes = np.mean([verdict.attributes for verdict in verdicts[name]])
        shown.add_row(name, f"{attributes:.3f}", f"{np.mean(scores):.3f}", interval(scores))
    print_table(console, shown)
    pairs = zip(fulfilled["refined"], fulfilled["wish"], strict=True)
    gain = [refined - plain for refined, plain in pairs]
    console.print(
        f"refined - wish: {np.mean(gain):+.3f} of the wishes fulfilled, "
        f"95 % interval of the pairs {interval(gain, lowest=-1.0)}",
        soft_wrap=True,
        highlight=False,
    )
