"""Trains the pocket diffusion model: Stable Diffusion's architecture at toy size.

The text encoder first learns to read captions: at the word that ends a clause, its state should
tell all that the clause has told. Then the U-Net learns to denoise latents; the text encoder and
the autoencoder stay frozen, as in Stable Diffusion. Some words of the captions are replaced by the
unknown word, so that a prompt in other words is not wholly foreign.

Shapes: ``B`` pictures, ``S`` tokens of a prompt, ``D`` features of the text encoder.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import (
    DDIMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

from ...datasets.miniclevr.scene import ATTRIBUTES, CAPTION_WORDS, COLUMNS, ROWS, Scene, caption
from ...diffusion.patches import PatchAutoencoder
from ..language_model import word_tokenizer
from ..training import Recipe, fit
from .pictures import Pictures

READING_RECIPE = Recipe(steps=250, batch_size=32, learning_rate=3e-3)
DENOISING_RECIPE = Recipe(steps=4000, batch_size=16, learning_rate=2e-3)
MAX_TOKENS = 56
"""Maximum number of words of a prompt; further words are cut off."""
_WIDTH = 64
_FACTS = (*ATTRIBUTES.values(), COLUMNS, ROWS)
"""Possible values of each fact that a clause tells, in the order of its words."""


@dataclass(frozen=True)
class DiffusionRecipe:
    """How the pocket diffusion model is made."""

    reading: Recipe = READING_RECIPE
    denoising: Recipe = DENOISING_RECIPE
    channels: tuple[int, int] = (32, 64)
    unprompted_prob: float = 0.1
    """How often a picture has an empty prompt, for classifier-free guidance."""
    masked_captions: float = 0.2
    """Share of the captions some of whose words are masked."""
    masked_words: float = 0.25
    """Share of the words of such a caption that are replaced by the unknown word."""


def train_diffusion(
    pictures: Pictures,
    autoencoder: PatchAutoencoder,
    out: Path,
    recipe: DiffusionRecipe,
    seed: int,
) -> None:
    """Writes a ``StableDiffusionPipeline`` in half precision.

    Args:
        pictures: Rendered pictures, and the scenes that their captions tell.
        autoencoder: Fitted to the pictures.
        out: Folder of the pipeline.
        recipe: How it is made.
        seed: Seed of all random draws.
    """
    torch.manual_seed(seed)
    latents = autoencoder.config.scaling_factor * autoencoder.encode(pictures.pixels)
    tokenizer = prompt_tokenizer()
    text_encoder = _new_text_encoder(tokenizer)
    unet = _new_unet(recipe, latents.shape)
    scheduler = DDIMScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type="sample",  # the network is too narrow for noise to pass through it
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        steps_offset=1,
    )
    prompts = _Prompts(pictures.scenes, tokenizer, recipe, torch.Generator().manual_seed(seed))
    _learn_to_read(text_encoder, prompts, pictures, recipe.reading)

    def loss() -> Tensor:
        chosen = pictures.draw(recipe.denoising.batch_size, prompts.generator)
        clean = latents[chosen]
        noise = torch.randn(clean.shape, generator=prompts.generator)
        times = torch.randint(
            scheduler.config.num_train_timesteps, (len(chosen),), generator=prompts.generator
        )
        noisy = scheduler.add_noise(clean, noise, times)
        with torch.no_grad():
            read = text_encoder(prompts.draw(chosen, recipe.unprompted_prob)).last_hidden_state
        told = unet(noisy, times, encoder_hidden_states=read).sample
        return F.mse_loss(told, clean)

    text_encoder.eval()
    fit(unet.parameters(), recipe.denoising, loss)
    pipeline = StableDiffusionPipeline(
        vae=autoencoder,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet.eval(),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    copy.deepcopy(pipeline).to(torch.float16).save_pretrained(out)


def prompt_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer with one token per word of captions; any other word is the unknown word."""
    tokenizer = word_tokenizer(CAPTION_WORDS)
    tokenizer.model_max_length = MAX_TOKENS
    return tokenizer


def _new_text_encoder(tokenizer: PreTrainedTokenizerFast) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=_WIDTH,
            intermediate_size=2 * _WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=MAX_TOKENS,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def _new_unet(recipe: DiffusionRecipe, shape: torch.Size) -> UNet2DConditionModel:
    _, channels, _, side = shape
    return UNet2DConditionModel(
        sample_size=side,
        in_channels=channels,
        out_channels=channels,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=recipe.channels,
        layers_per_block=1,
        cross_attention_dim=_WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
    )


class _Prompts:
    """Captions as token ids, drawn with masked words."""

    def __init__(
        self,
        scenes: Sequence[Scene],
        tokenizer: PreTrainedTokenizerFast,
        recipe: DiffusionRecipe,
        generator: torch.Generator,
    ) -> None:
        texts = [caption(scene) for scene in scenes]
        options = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
        self.ids: Tensor = tokenizer(texts, **options)["input_ids"]
        self.empty: Tensor = tokenizer("", **options)["input_ids"]
        self.generator = generator
        self._tokenizer = tokenizer
        self._recipe = recipe

    def draw(self, chosen: Tensor, unprompted_prob: float) -> Tensor:
        """Ids ``[B, S]`` of the captions of ``chosen`` pictures."""
        ids = self.ids[chosen]
        masked = torch.rand(len(ids), 1, generator=self.generator) < self._recipe.masked_captions
        words = torch.rand(ids.shape, generator=self.generator) < self._recipe.masked_words
        hidden = masked & words & (ids != self._tokenizer.pad_token_id)
        ids = ids.masked_fill(hidden, self._tokenizer.unk_token_id)
        dropped = torch.rand(len(ids), 1, generator=self.generator) < unprompted_prob
        return torch.where(dropped, self.empty, ids)


def _learn_to_read(
    text_encoder: CLIPTextModel, prompts: _Prompts, pictures: Pictures, recipe: Recipe
) -> None:
    """Trains the text encoder to tell all about a clause's solid at the end of the clause."""
    solids = [scene.solids for scene in pictures.scenes]
    truth = torch.tensor([[(*s.values, s.column, s.row) for s in own] for own in solids])
    words = len(_FACTS) + 1  # and 'at'
    ends = torch.arange(1, truth.shape[1] + 1) * (words + 1) - 2  # a clause's word before its comma
    heads = nn.ModuleList(nn.Linear(_WIDTH, len(values)) for values in _FACTS)

    def loss() -> Tensor:
        chosen = pictures.draw(recipe.batch_size, prompts.generator)
        ids = prompts.draw(chosen, 0.0)[:, : 1 + int(ends[-1])]  # no word sees later ones
        read = text_encoder(ids).last_hidden_state[:, ends].flatten(0, 1)
        told = truth[chosen].flatten(0, 1).unbind(-1)
        losses = [F.cross_entropy(h(read), t) for h, t in zip(heads, told, strict=True)]
        return torch.stack(losses).mean()

    fit([*text_encoder.parameters(), *heads.parameters()], recipe, loss)
