"""The shipped checkpoints are as good as they say, measured anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, Qwen2ForCausalLM

from tokcom_core.answers import IGNORED
from tokcom_core.checkpoints import POCKET_IMAGES, pocket_folder, resolve
from tokcom_core.datasets.miniclevr import language as clevr
from tokcom_core.datasets.miniclevr import reviews
from tokcom_core.datasets.miniclevr import scene as clevr_scene
from tokcom_core.datasets.miniclevr.labels import cell_labels
from tokcom_core.datasets.minimusic.labels import audio_labels, vision_labels
from tokcom_core.datasets.minimusic.language import TEMPLATES
from tokcom_core.datasets.minimusic.scene import sample_scene
from tokcom_core.encoders.audio import AudioEncoder
from tokcom_core.encoders.vision import VisionEncoder
from tokcom_core.zoo.build import WORLDS, build_miniclevr, build_minimusic
from tokcom_core.zoo.miniclevr import packing as clevr_packing
from tokcom_core.zoo.miniclevr.encoders import TokenizerRecipe
from tokcom_core.zoo.miniclevr.language import MiniClevrRecipe
from tokcom_core.zoo.miniclevr.scores import evaluate_language as evaluate_clevr
from tokcom_core.zoo.minimusic import language as minimusic
from tokcom_core.zoo.minimusic.encoders import EncoderRecipe
from tokcom_core.zoo.packing import block_mask
from tokcom_core.zoo.scores import read_scores

SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "layers": 3,
    "heads": 2,
    "key_value_heads": 1,
    "intermediate_size": 32,
    "steps": 3,
    "batch_size": 2,
    "evaluate_every": 10,
    "scored_scenes": 20,
}


def test_the_zoo_is_small_and_safe() -> None:
    for world in WORLDS.values():
        folder = pocket_folder(world.checkpoints)
        files = [f for f in folder.rglob("*") if f.is_file()]
        assert sum(f.stat().st_size for f in files) < 10e6
        assert {f.suffix for f in files} <= {".json", ".safetensors", ".jinja"}
        assert set(read_scores(folder)) == {f.name for f in folder.iterdir() if f.is_dir()}


def test_the_language_model_answers_plain_captions() -> None:
    """The text oracle's zero-shot accuracy, on scenes never seen."""
    model = Qwen2ForCausalLM.from_pretrained(resolve("pocket", "language"), dtype=torch.float32)
    packer = minimusic.Packer(minimusic.build_tokenizer(), minimusic.MiniMusicRecipe())
    scores = minimusic.evaluate_language(model, packer, soft=False, scenes=200, seed=77)
    assert scores["all"] >= 0.9
    assert set(scores) == {"all", *(content for _, content, _ in TEMPLATES)}


def test_miniclevrs_language_model_is_as_good_as_it_says() -> None:
    """Every score of the build, measured anew on scenes never seen."""
    folder = resolve(POCKET_IMAGES, "language")
    model = Qwen2ForCausalLM.from_pretrained(folder, dtype=torch.float32)
    packer = clevr_packing.Packer(clevr_packing.build_tokenizer(), 0.1)
    scores = evaluate_clevr(model, packer, scenes=100, seed=77)
    said = read_scores(pocket_folder(POCKET_IMAGES))["language"]
    assert set(scores) == set(said)
    for name, score in scores.items():
        assert abs(score - said[name]) < 0.2, name  # four standard errors of a coin, 100 scenes
    assert min(value for name, value in said.items() if name.startswith("words")) >= 0.95
    assert scores["reviews"] >= 0.95
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.get_vocab() == clevr_packing.build_tokenizer().get_vocab()


def test_a_segment_sees_the_prefix_and_itself_only() -> None:
    mask = block_mask(torch.tensor([[0, 0, 1, 1, 2, 2, -1]]))[0, 0]
    visible = [[j for j in range(7) if mask[i, j] == 0] for i in range(6)]
    assert visible == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 4], [0, 1, 4, 5]]


def test_labels_follow_the_scene() -> None:
    scenes = [sample_scene(np.random.default_rng(i)) for i in range(20)]
    seen, received = vision_labels(scenes), audio_labels(scenes)
    for i, scene in enumerate(scenes):
        visible = {s.instrument + 1 for s in scene.visible}
        assert set(seen.dense["instrument"][i].tolist()) - {0} == visible
        sounding = {s.instrument + 1: s for s in scene.sounding}
        assert set(received.dense["instrument"][i].tolist()) - {0} == set(sounding)
        for label, source in sounding.items():
            at = received.dense["instrument"][i] == label
            assert set(received.dense["loudness"][i][at].tolist()) == {(source.loudness or 0) + 1}


def test_cells_are_labelled_by_what_stands_in_them() -> None:
    scenes = [clevr_scene.sample_scene(np.random.default_rng(i)) for i in range(20)]
    coarse, fine = cell_labels(scenes), cell_labels(scenes, finer=2)
    for i, scene in enumerate(scenes):
        for solid in scene.solids:
            for name, value in zip(clevr_scene.ATTRIBUTES, solid.values, strict=True):
                assert coarse[name][i].view(6, 6)[solid.row, solid.column] == value + 1
        assert (coarse["color"][i] > 0).sum() == len(scene.solids)
        blocks = fine["color"][i].view(6, 2, 6, 2).transpose(1, 2).flatten(2)
        assert (blocks == coarse["color"][i].view(6, 6, 1)).all()


def test_all_words_of_miniclevr_are_tokens() -> None:
    known, rng = set(clevr_packing.build_tokenizer().get_vocab()), np.random.default_rng(0)
    for _ in range(100):
        scene = clevr_scene.sample_scene(rng)
        texts = [clevr_scene.caption(scene), reviews.review(rng)[0]]
        texts += [q.text for q in clevr.ask(scene, clevr.TYPES, rng)]
        assert set(" ".join(texts).split()) <= known


def test_an_answer_follows_its_context_in_both_orders() -> None:
    """What predicts the answer is the instruction's last token, or the context's."""
    tokenizer = clevr_packing.build_tokenizer()
    packer = clevr_packing.Packer(tokenizer, 0.1)
    rng = np.random.default_rng(0)
    scene = clevr_scene.sample_scene(rng)
    (question,) = clevr.ask(scene, ["query_color"], rng)
    orders = {
        f"{clevr_scene.caption(scene)} {question.text}": packer.image_first(
            scene, [question], "words", 0.0, rng
        ),
        f"{question.text} {clevr_scene.caption(scene)}": packer.instruction_first(
            [(scene, question)], "words", rng
        ),
    }
    for prompt, packed in orders.items():
        ids = packer.encode(prompt)
        end = len(ids) - 1
        assert [word for (word,) in packed.words][: len(ids)] == ids
        assert tokenizer.decode(packed.target[end : end + 2]) == f"{question.answer} <eos>"
        assert packed.weight[end : end + 2] == [1.0, 1.0]
        assert packed.position == list(range(len(packed.words)))


def test_nouns_denote_what_the_question_means() -> None:
    rng = np.random.default_rng(0)
    scene = clevr_scene.sample_scene(rng)
    tokenizer = clevr_packing.build_tokenizer()
    packer = clevr_packing.Packer(tokenizer, 0.1)
    questions = clevr.ask(scene, clevr.TYPES, rng)
    packed = packer.image_first(scene, questions, "soft", 0.0, rng)
    denoted = clevr_packing.batch_of([packed])["denoted"][0]
    nouns = torch.nonzero(denoted[:, 0] != IGNORED).flatten().tolist()
    meant = [solids for question in questions for solids in question.meant]
    assert [int(denoted[at, 0]) for at in nouns] == [len(solids) for solids in meant]
    for at, solids in zip(nouns, meant, strict=True):
        assert tokenizer.decode(packed.words[at]).removesuffix("s") in clevr.NOUNS
        if len(solids) == 1:
            assert tuple(denoted[at, 1:5].tolist()) == scene.solids[solids[0]].values


def test_a_second_noun_means_how_its_solid_and_the_first_ones_compare() -> None:
    """The read-outs tell the answers, once one knows which of them is asked for."""
    rng = np.random.default_rng(0)
    packer = clevr_packing.Packer(clevr_packing.build_tokenizer(), 0.1)
    for _ in range(20):
        scene = clevr_scene.sample_scene(rng)
        for question in clevr.ask(scene, ["compare_attribute", "relation"], rng):
            packed = packer.image_first(scene, [question], "soft", 0.0, rng)
            (second, related) = packed.meaning["related"].popitem()
            _, (anchor,) = question.meant
            if clevr.FAMILIES[question.family][0] == "compare_attribute":
                (same,) = packed.meaning["same"].values()
                asked = question.text.split(" same ")[1].split()[0]
                at = list(clevr_scene.ATTRIBUTES).index(asked)
                assert ["no", "yes"][same[at]] == question.answer
            else:
                (relation,) = (
                    s["value_inputs"] for s in question.program if s["function"] == "relate"
                )
                count = related[clevr_scene.RELATIONS.index(relation[0])]
                told = ["no", "yes"][count > 0] if "is there" in question.text else str(count)
                assert told == question.answer
            columns = packed.meaning["placed"][second][: clevr_scene.CELLS]
            assert columns[scene.solids[anchor].column] == 1 == sum(columns)


def test_solids_behind_an_instruction_know_whether_it_describes_them() -> None:
    rng = np.random.default_rng(1)
    scene = clevr_scene.sample_scene(rng)
    packer = clevr_packing.Packer(clevr_packing.build_tokenizer(), 0.1)
    (question,) = clevr.ask(scene, ["compare_attribute"], rng)
    for context in ("words", "soft"):
        packed = packer.instruction_first([(scene, question)], context, rng)
        matched = list(packed.meaning["matched"].values())
        assert len(matched) == len(scene.solids)
        for description, (solid,) in enumerate(question.meant):
            told = [row[description] for row in matched]
            assert told == [int(i == solid) for i in range(len(scene.solids))]


def test_minimusics_zoo_is_built_from_nothing(tmp_path: Path) -> None:
    """Tiny recipes: every step of the build, and the studies' own code loads what it made."""
    recipe = minimusic.MiniMusicRecipe(**SMALL)
    build_minimusic(tmp_path, 0, 40, recipe, EncoderRecipe(epochs=1, batch_size=16))
    scores = read_scores(tmp_path)
    assert set(scores) == {"language", "audio", "vision"}
    assert all(0 <= value <= 1 for group in scores.values() for value in group.values())
    model = Qwen2ForCausalLM.from_pretrained(tmp_path / "language")
    assert model.config.hidden_size == 32
    assert AudioEncoder(str(tmp_path / "audio")).length == AudioEncoder("pocket").length
    assert VisionEncoder(str(tmp_path / "vision")).length == VisionEncoder("pocket").length


def test_miniclevrs_zoo_is_built_from_nothing_and_alike_again(tmp_path: Path) -> None:
    recipe = MiniClevrRecipe(
        **SMALL, retrieval_steps=1, comparing_steps=2, color_steps=2, recall_steps=2
    )
    tokenizer = TokenizerRecipe(steps=20, batch_size=4, learning_rate=1e-3)
    for name in ("a", "b"):
        build_miniclevr(tmp_path / name, 0, 30, recipe, tokenizer, tokenizer)
    for kind in ("language", "clip", "convnext"):
        weights = [load_file(tmp_path / n / kind / "model.safetensors") for n in ("a", "b")]
        assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    scores = read_scores(tmp_path / "a")
    assert scores == read_scores(tmp_path / "b")
    assert {"size", "color", "material", "shape", "occupied"} == set(scores["clip"])
