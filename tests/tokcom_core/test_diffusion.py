"""Drawing: wishes, refinement, the judge, and pipelines of diffusers."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import GPT2Config, GPTNeoXConfig, Phi3Config, PreTrainedConfig

from tokcom_core.checkpoints import POCKET_DRAWING, pocket_folder, resolve
from tokcom_core.datasets.miniclevr.drawing import (
    DRAWN_CELLS,
    DRAWN_PIXELS,
    Wish,
    draw_cells,
    sample_drawn_scene,
    sample_wish,
)
from tokcom_core.datasets.miniclevr.scene import ATTRIBUTES, Scene
from tokcom_core.diffusion.evaluation import PROMPTS, evaluate
from tokcom_core.diffusion.judge import judge_wish, load_judge
from tokcom_core.diffusion.patches import PatchAutoencoder
from tokcom_core.diffusion.pipeline import ImageGenerator, Sampling
from tokcom_core.diffusion.refinement import (
    IDR_TEMPLATE,
    POCKET_TEMPLATE,
    PromptRefiner,
)
from tokcom_core.foundation import FoundationModel, LoraShape
from tokcom_core.zoo.build import build_drawing
from tokcom_core.zoo.drawing.diffusion import DiffusionRecipe
from tokcom_core.zoo.drawing.training import DrawingRecipe
from tokcom_core.zoo.miniclevr.packing import build_tokenizer
from tokcom_core.zoo.scores import read_scores
from tokcom_core.zoo.training import Recipe

from .pictures import write_language

STEPS = Sampling(steps=3)
TINY = Recipe(steps=2, batch_size=4, learning_rate=1e-3)
TINY_RECIPE = DrawingRecipe(
    pictures=40,
    judge=TINY,
    refinement=TINY,
    diffusion=DiffusionRecipe(reading=TINY, denoising=TINY),
    scored_wishes=3,
)


def _wishes(count: int, seed: int = 5, held_out: bool = True) -> list[Wish]:
    rng = np.random.default_rng(seed)
    return [sample_wish(rng, held_out) for _ in range(count)]


@pytest.fixture(scope="module")
def generator() -> ImageGenerator:
    return ImageGenerator(device="cpu")


@pytest.fixture(scope="module")
def refiner() -> PromptRefiner:
    return PromptRefiner(device="cpu")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drawing zoo, hardly trained."""
    out = tmp_path_factory.mktemp("drawing")
    build_drawing(out, 0, TINY_RECIPE)
    return out


def test_wishes_mean_what_their_words_say() -> None:
    """What is told directly is true; what is told as the same, or as not, is so."""
    for wish in _wishes(200):
        named = {solid.value("shape"): solid for solid in wish.scene.solids}
        assert len(named) == 2
        for sentence in wish.text.split(" . "):
            words = sentence.split()
            if "same" in words:
                one, other = (named[shape] for shape in words if shape in named)
                asked = [word for word in words if word in ATTRIBUTES]
                assert asked
                assert all(one.value(a) == other.value(a) for a in asked)
            elif "not" in words:
                assert words[-1] not in named[words[1]].words
            elif words[0] == "the":
                one, other = (list(named).index(shape) for shape in words if shape in named)
                (relation,) = {"left", "right", "front", "behind"} & set(words)
                assert one in wish.scene.related(relation, other)
            else:
                for told in sentence.replace("there is", "").split(" and "):
                    *adjectives, shape = told.replace(".", "").replace("a ", "").split()
                    assert set(adjectives) <= set(named[shape].words)
        assert wish.scene.related(wish.relation, 1) == (0,)


def test_wishes_to_evaluate_with_are_never_trained_on() -> None:
    trained = {wish.caption for wish in _wishes(500, held_out=False)}
    assert not trained & {wish.caption for wish in _wishes(500)}


def test_the_pocket_language_model_knows_every_word_of_a_wish() -> None:
    known = set(build_tokenizer().get_vocab())
    for wish in _wishes(200):
        stages = POCKET_TEMPLATE.first(wish.text), POCKET_TEMPLATE.second(wish.text, wish.plain)
        assert set(" ".join([*stages, wish.plain, wish.caption]).split()) <= known


def test_drawn_scenes_lie_in_the_picture() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        scene = sample_drawn_scene(rng)
        for solid in scene.solids:
            reach = (solid.x_pixels + solid.radius_pixels, solid.y_pixels + solid.radius_pixels)
            assert max(reach) < DRAWN_PIXELS
            assert max(solid.column, solid.row) < DRAWN_CELLS
    assert draw_cells(scene, rng).shape == (DRAWN_PIXELS, DRAWN_PIXELS, 3)


def test_the_judge_is_as_good_as_it_says() -> None:
    """On pictures never seen, against the renderer's truth."""
    rng = np.random.default_rng(77)
    scenes = [sample_drawn_scene(rng) for _ in range(150)]
    folder = pocket_folder(POCKET_DRAWING)
    seen = load_judge(folder / "judge").see([draw_cells(scene, rng) for scene in scenes])
    hits = [
        [(s.values, s.column, s.row) for s in own.solids]
        == [(s.values, s.column, s.row) for s in scene.solids]
        for own, scene in zip(seen, scenes, strict=True)
    ]
    said = read_scores(folder)["judge"]
    assert min(said[name] for name in ATTRIBUTES) >= 0.97
    assert abs(np.mean(hits) - said["rendered"]) < 0.08  # four standard errors


def test_a_verdict_counts_attributes_relation_and_number() -> None:
    (wish,) = _wishes(1)
    first, second = wish.scene.solids
    assert judge_wish(wish.scene, wish).fulfilled
    assert judge_wish(wish.scene, wish).attributes == 1
    size, color, material, shape = first.values
    other = replace(first, values=(size, (color + 1) % 8, material, shape))
    wrong = judge_wish(Scene((other, second)), wish)
    assert (wrong.attributes, wrong.fulfilled) == (7 / 8, False)
    swapped = judge_wish(
        Scene((replace(first, values=second.values), replace(second, values=first.values))), wish
    )
    assert (swapped.attributes, swapped.fulfilled) == (1, False)
    assert judge_wish(Scene((first,)), wish).attributes == 0.5
    assert judge_wish(Scene(()), wish).attributes == 0
    extra = judge_wish(Scene((first, second, other)), wish)
    assert (extra.attributes, extra.fulfilled) == (1, False)


def test_patches_keep_what_they_are_fitted_to() -> None:
    rng = torch.Generator().manual_seed(0)
    basis = torch.randn(5, 3, 8, 8, generator=rng)
    tiles = torch.randn(20, 5, 2, 3, generator=rng)
    pictures = torch.einsum("bkhw,kcij->bchiwj", tiles, basis).reshape(20, 3, 16, 24)
    autoencoder = PatchAutoencoder(latent_channels=5)
    autoencoder.fit(pictures)
    latents = autoencoder.encode(pictures)
    assert latents.shape == (20, 5, 2, 3)
    assert (latents * autoencoder.config.scaling_factor).std() == pytest.approx(1, abs=1e-3)
    assert torch.allclose(autoencoder.decode(latents).sample, pictures, atol=1e-3)


def test_a_picture_depends_on_seed_and_prompt(generator: ImageGenerator) -> None:
    wish, other = _wishes(2)
    one, again = (generator.draw([wish.caption], 3, STEPS)[0] for _ in range(2))
    assert one.shape == (DRAWN_PIXELS, DRAWN_PIXELS, 3)
    assert one.dtype == np.uint8
    assert (one == again).all()
    assert (one != generator.draw([wish.caption], 4, STEPS)[0]).any()
    assert (one != generator.draw([other.caption], 3, STEPS)[0]).any()
    beside = generator.draw([wish.caption, other.caption], 3, STEPS)[0]
    assert np.abs(one.astype(int) - beside).max() <= 2  # whoever is drawn beside it


def test_refinement_works_out_what_is_meant(refiner: PromptRefiner) -> None:
    """Held-out wishes, two stages; the score of the build, measured anew."""
    wishes = _wishes(60)
    refined = refiner.refine([wish.text for wish in wishes])
    said = read_scores(pocket_folder(POCKET_DRAWING))["refinement"]
    hits = np.mean([r.prompt == w.caption for r, w in zip(refined, wishes, strict=True)])
    assert abs(hits - said["prompt"]) < 0.26  # four standard errors of a coin, 60 wishes
    assert refined == refiner.refine([wish.text for wish in wishes])


def test_refinement_raises_attribute_accuracy(
    generator: ImageGenerator, refiner: PromptRefiner
) -> None:
    judge = load_judge(pocket_folder(POCKET_DRAWING) / "judge")
    found = evaluate(generator, refiner, judge, _wishes(60), 0, Sampling(10))
    right = {name: np.mean([v.attributes for v in own]) for name, own in found.items()}
    assert tuple(right) == PROMPTS
    assert right["refined"] > right["wish"]
    assert right["caption"] > right["chance"]


def test_an_unknown_word_is_named(refiner: PromptRefiner) -> None:
    with pytest.raises(
        ValueError, match=r"does not know 'giant', 'ball'; .* another language model"
    ):
        refiner.refine(["a giant red ball"])


@pytest.mark.parametrize("wish", ["", "  "])
def test_an_empty_wish_is_refused(refiner: PromptRefiner, wish: str) -> None:
    with pytest.raises(ValueError, match="an empty wish"):
        refiner.refine(["a red cube", wish])


def test_the_templates_hold_the_wish_and_the_draft() -> None:
    asked = IDR_TEMPLATE.second("two {draft} cats", "cats, seen from above")
    assert "two {draft} cats" in asked
    assert "cats, seen from above" in asked
    assert "two cats" in IDR_TEMPLATE.first("two cats")


def test_any_language_model_can_refine_without_an_adapter() -> None:
    """The base model of the pocket, named by its folder, gets the paper's template by default."""
    folder = resolve("pocket-images", "language")
    assert PromptRefiner(folder).template is IDR_TEMPLATE
    assert PromptRefiner().template is POCKET_TEMPLATE
    (refined,) = PromptRefiner(folder, template=POCKET_TEMPLATE).refine(["a red cube"])
    assert refined.wish == "a red cube"


def test_an_adapter_of_other_modules_refines_and_of_another_kind_is_refused(tmp_path: Path) -> None:
    language = resolve("pocket-images", "language")
    modules = ("k_proj", "o_proj")
    saved = FoundationModel(language, LoraShape(modules=modules), "cpu")
    for name, weights in saved.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weights)
    saved.save_adapter(tmp_path)
    refiner = PromptRefiner(language, tmp_path, POCKET_TEMPLATE, "cpu")
    found, expected = refiner._model.adapter_state(), saved.adapter_state()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], own) for name, own in expected.items())
    assert refiner.refine(["a red cube"])[0].wish == "a red cube"
    config = tmp_path / "adapter_config.json"
    settings = {**json.loads(config.read_text()), "use_rslora": True, "target_modules": ".*_proj"}
    config.write_text(json.dumps(settings))
    with pytest.raises(ValueError, match="sets use_rslora, target_modules by a pattern; take"):
        PromptRefiner(language, tmp_path, POCKET_TEMPLATE, "cpu")


_SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.mark.parametrize(
    "config",
    [GPT2Config(**_SIZES), GPTNeoXConfig(**_SIZES), Phi3Config(**_SIZES, num_key_value_heads=2)],
    ids=lambda config: config.model_type,
)
def test_a_model_without_query_and_value_projections_refines(
    config: PreTrainedConfig, tmp_path: Path
) -> None:
    """Its text ends where its own settings say so, and not at the tokenizer's end alone."""
    folder = write_language(tmp_path, config)

    def draft() -> list[str]:
        (refined,) = PromptRefiner(str(folder), template=POCKET_TEMPLATE, device="cpu").refine(
            ["a ball"]
        )
        return refined.draft.split()

    whole = draft()
    assert len(whole) > 2
    stop = whole[-1]
    words = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    settings = {"eos_token_id": [1, words[stop]], "do_sample": True}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    assert draft() == whole[: whole.index(stop) + 1]


def test_the_drawing_zoo_is_built_from_nothing_and_goes_on(built: Path) -> None:
    scores = read_scores(built)
    assert (
        set(scores)
        == {"judge", "refinement", "diffusion"}
        == {f.name for f in built.iterdir() if f.is_dir()}
    )
    file = built / "judge" / "model.safetensors"
    before = file.stat().st_mtime_ns
    (built / "scores.json").write_text(
        json.dumps({name: own for name, own in scores.items() if name != "refinement"})
    )
    build_drawing(built, 0, TINY_RECIPE)
    assert file.stat().st_mtime_ns == before
    assert read_scores(built) == scores
    with pytest.raises(ValueError, match="holds checkpoints of seed 0; take another folder"):
        build_drawing(built, 1, TINY_RECIPE)


def test_a_folder_that_diffusers_wrote_is_drawn_with(built: Path) -> None:
    drawn = ImageGenerator(str(built / "diffusion")).draw(["large red metal cube"], 0, STEPS)
    assert drawn[0].shape == (DRAWN_PIXELS, DRAWN_PIXELS, 3)
    weights = load_file(built / "diffusion" / "unet" / "diffusion_pytorch_model.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.float16}


def test_a_pipeline_whose_weights_are_pickled_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "pickled"
    shutil.copytree(resolve(POCKET_DRAWING, "diffusion"), folder)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(ValueError, match=r"diffusion checkpoint .* cannot be read"):
        ImageGenerator(str(folder))


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"it should hold a model_index\.json"):
        ImageGenerator(str(tmp_path))
    (tmp_path / "model_index.json").write_text('{"_class_name": "DDPMPipeline"}')
    with pytest.raises(ValueError, match=r"diffusion checkpoint .* cannot be read") as error:
        ImageGenerator(str(tmp_path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("call", "missing"),
    [(lambda self, image: None, "prompt"), (lambda self, prompt: None, "num_inference_steps")],
)
def test_a_pipeline_that_cannot_be_asked_is_refused(
    generator: ImageGenerator,
    call: Callable[..., None],
    missing: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(type(generator._pipeline), "__call__", call)
    with pytest.raises(ValueError, match=f"takes no {missing}; take a text-to-image pipeline"):
        ImageGenerator()


@pytest.mark.usefixtures("without_diffusers")
def test_a_missing_extra_is_named(tmp_path: Path) -> None:
    for ask in (ImageGenerator, lambda: build_drawing(tmp_path, 0)):
        with pytest.raises(ValueError, match=r'pip install "tokcom\[diffusion\]"'):
            ask()


def test_importing_the_command_loads_no_diffusers() -> None:
    code = "import sys, studies.cli.main, tokcom_core.diffusion"
    code += "; print({'diffusers', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
