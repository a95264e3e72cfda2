"""From a study to its cells and the distinct stages that they share."""

from __future__ import annotations

import hashlib
import math
from copy import copy
from dataclasses import replace
from itertools import product
from typing import Any

from actors import share_of
from channel_models import AirConfig, Link, named_air
from tokcom_core.datasets.layout import MUSIC_AVQA, VALOR, annotation_file, sampling_file
from tokcom_core.encoders import EncoderShape, encoder_shape, token_width
from tokcom_core.features import Sliding
from tokcom_core.slide import slide

from .budgets import fit, snr_at_bandwidth
from .methods import FLOORS, METHODS
from .specs import (
    DATASET_OF,
    MEDIA,
    TASK_SPLITS,
    AlignmentSpec,
    Cell,
    FeaturesSpec,
    TuningSpec,
    ValidationSpec,
)
from .study import Data, Models, PoolingConfig, Study, TokenBudget

NOISELESS = named_air("awgn")
"""The floors' air, at an infinite SNR."""


def air_of(study: Study, method: str, air: AirConfig) -> AirConfig:
    """The air as a method uses it: with the study's digital link, if it sends packets."""
    if METHODS[method].transport == "analog" or air.digital is not None:
        return air
    return air.model_copy(update={"digital": study.digital})


def _floor_link(link: Link) -> Link:
    """The floors send intact text, so that nothing but airtime depends on the link."""
    return link.model_copy(update={"antennas": 1, "access": "ofdma"})


class ModelSizes:
    """Sizes of the study's checkpoints, read once from their configurations."""

    def __init__(self, models: Models) -> None:
        self.token_width = token_width(models.language)
        self.encoder: dict[str, EncoderShape] = {
            "audio": encoder_shape(models.audio, "audio"),
            "vision": encoder_shape(models.vision, "vision"),
        }
        self._models = models

    def with_windows(self, windows: dict[str, float]) -> ModelSizes:
        """The same with the mean number of the encoders' windows in a clip."""
        found = copy(self)
        found.encoder = {
            modality: replace(shape, windows=windows[modality])
            for modality, shape in self.encoder.items()
        }
        return found

    def slid_length(self, modality: str) -> int:
        """Tokens that the slide chooses from in a clip of one window."""
        shape = self.encoder[modality]
        return shape.length - (0 if self._models.slide == "all" else shape.summary_tokens)

    def check(self, tokens: TokenBudget) -> None:
        """Raises ValueError for a token length beyond the encoder's."""
        for modality in MEDIA:
            asked, available = getattr(tokens, modality), self.slid_length(modality)
            if asked > available:
                raise ValueError(
                    f"tokens.{modality} {asked} is beyond the encoder's {available} tokens"
                )

    def check_pooling(self, pooling: PoolingConfig, tokens: TokenBudget) -> None:
        """Raises ValueError where the tokens that eq. (10) pools are not those that are sent."""
        for modality in MEDIA:
            how, count = getattr(pooling, modality), getattr(tokens, modality)
            skipped = self.encoder[modality].length - self.slid_length(modality)
            length = self.slid_length(modality)
            sent = (skipped + slide(length, count, self._models.slide_rounding)).tolist()
            complaint = f"alignment.pooling.{modality} {how!r} needs "
            if how.startswith("cls") and sent[0] != 0:
                raise ValueError(
                    f"{complaint}the class token, which the slide leaves out; take models.slide: "
                    "all, or pool 'mean'"
                )
            if how.startswith("cls") and modality == "audio" and self._models.audio_span == "whole":
                raise ValueError(
                    f"{complaint}a class token for the whole sound, but each window of it has one "
                    "of its own; take models.audio_span: first, or pool 'mean'"
                )
            if how == "cls+distillation" and sent[:2] != [0, 1]:
                raise ValueError(
                    f"{complaint}AST's second token, which is not one of {count} evenly spaced; "
                    "take 'cls', 'first_two' (whichever is sent second) or 'mean'"
                )
            if how == "first_two" and count < 2:
                raise ValueError(f"{complaint}two tokens, but tokens.{modality} is {count}")


def data_id(data: Data) -> str:
    """Names the data by its content: how it was made, or its annotations and sampling of frames.

    Raises:
        ValueError: if the folder or an annotation file is missing.
    """
    if data.minimusic is not None:
        return f"minimusic-{data.minimusic.clips}-{data.minimusic.seed}"
    assert data.folder is not None
    if not data.folder.is_dir():
        raise ValueError(f"no data folder {data.folder}; 'tokcom data minimusic DIR' makes one")
    hashed = hashlib.blake2b(digest_size=8)
    questions = [annotation_file(data.folder / MUSIC_AVQA, "avqa", s) for s in TASK_SPLITS]
    for file in (annotation_file(data.folder / VALOR, "desc", "train"), *questions):
        if not file.is_file():
            raise ValueError(f"no annotation file {file}")
        hashed.update(file.read_bytes())
    for mark in (sampling_file(data.folder / name) for name in (VALOR, MUSIC_AVQA)):
        hashed.update(mark.read_bytes() if mark.is_file() else b"")
    return f"folder-{hashed.hexdigest()}"


def floors_of(data: Data) -> tuple[str, ...]:
    """The floors that this data allows: no text oracle where the task's clips have no captions."""
    folder = data.folder
    if folder is None or all(
        annotation_file(folder / MUSIC_AVQA, "desc", split).is_file() for split in TASK_SPLITS
    ):
        return FLOORS
    return tuple(name for name in FLOORS if "caption" not in METHODS[name].streams)


class Plan:
    """The cells of a study and what they are made from.

    Raises:
        ValueError: for budgets that the encoders or the link cannot meet.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        self.shapes = ModelSizes(study.models)
        for method, air, bandwidth_hz in product(study.methods, study.airs, study.bandwidth_hz):
            link = study.link_at(bandwidth_hz)
            air_of(study, method, air).check(link)
            if study.emulate is not None:
                share_of(link, study.emulate.users_at_once, len(METHODS[method].streams))
        self._data = data_id(study.data)
        self.methods = (*floors_of(study.data), *study.methods)
        self.budgets = {
            (t, bw): self._budget(t, bw) for t in study.tokens for bw in study.bandwidth_hz
        }
        if any(METHODS[method].alignment == "contrastive" for method in study.methods):
            for budget in self.budgets.values():
                self.shapes.check_pooling(study.alignment.pooling, budget)

    def features(self) -> list[FeaturesSpec]:
        """Every data set and encoder, at all token lengths of some cell."""
        models = self.study.models
        return [
            FeaturesSpec(
                data=self._data,
                dataset=dataset,
                modality=modality,
                encoder=getattr(models, modality),
                audio_span=models.audio_span if modality == "audio" else None,
                frames=models.frames if modality == "vision" else None,
                vision_crop=models.vision_crop if modality == "vision" else None,
                sliding=Sliding(
                    counts=self._counts(modality),
                    with_summary=models.slide == "all",
                    rounding=models.slide_rounding,
                    dtype=models.feature_dtype,
                ),
            )
            for dataset in dict.fromkeys(DATASET_OF.values())
            for modality in MEDIA
        ]

    def candidates(self) -> dict[str, list[ValidationSpec]]:
        """By method, the fine-tunings to choose a learning rate from; none if there is no choice.

        They run on the study's first air and SNR, with the last token budget, for every seed.
        """
        rates = self.study.fine_tuning.learning_rates
        if len(rates) == 1:
            return {}
        study = self.study
        tokens = self.budgets[study.tokens[-1], study.bandwidth_hz[0]]
        snr_db = snr_at_bandwidth(study, study.train_snr_db[0], study.bandwidth_hz[0])
        return {
            method: [
                ValidationSpec(
                    tuning=self._tuning(
                        method,
                        study.airs[0],
                        study.link_at(study.bandwidth_hz[0]),
                        snr_db,
                        tokens,
                        seed,
                        rate,
                    )
                )
                for rate in rates
                for seed in study.seeds
            ]
            for method in self.methods
        }

    def cells(self, learning_rates: dict[str, float]) -> list[Cell]:
        """Every cell in its stable order, the floors first; given each method's learning rate."""
        study = self.study
        first_bw = study.bandwidth_hz[0]
        found = [
            self._cell(
                method,
                NOISELESS,
                float("inf"),
                study.tokens[0],
                seed,
                first_bw,
                learning_rates[method],
            )
            for method in self.methods
            if METHODS[method].floor
            for seed in study.seeds
        ]
        found += [
            self._cell(method, air, snr_db, tokens, seed, bandwidth_hz, learning_rates[method])
            for method in study.methods
            for air in study.airs
            for snr_db in (study.train_snr_db if air.sets_snr else (math.nan,))
            for bandwidth_hz in study.bandwidth_hz
            for tokens in study.tokens
            for seed in study.seeds
        ]
        return found

    def _cell(
        self,
        method: str,
        air: AirConfig,
        snr_db: float,
        tokens: TokenBudget,
        seed: int,
        bandwidth_hz: float,
        learning_rate: float,
    ) -> Cell:
        study = self.study
        floor = METHODS[method].floor
        link = _floor_link(study.link_at(bandwidth_hz)) if floor else study.link_at(bandwidth_hz)
        budget = self.budgets[tokens, bandwidth_hz]
        eval_snr_db = study.eval_snr_db if air.sets_snr else (math.nan,)
        if floor:
            eval_snr_db = (math.inf,)
        return Cell(
            study=study.name,
            tuning=self._tuning(
                method,
                air,
                link,
                snr_at_bandwidth(study, snr_db, bandwidth_hz),
                budget,
                seed,
                learning_rate,
            ),
            nominal_snr_db=snr_db,
            eval_snr_db=eval_snr_db,
            eval_air_snr_db=tuple(snr_at_bandwidth(study, s, bandwidth_hz) for s in eval_snr_db),
            bandwidth_hz=bandwidth_hz,
            air_label=air.label,
            link=link,
            deadline_ms=None if floor else study.deadline_ms,
            questions=study.evaluation.questions,
            batch_size=study.evaluation.batch_size,
            max_answer_tokens=study.evaluation.max_answer_tokens,
            metric=study.evaluation.metric,
            emulate=None if floor else study.emulate,
        )

    def _tuning(
        self,
        name: str,
        air: AirConfig,
        link: Link,
        snr_db: float,
        tokens: TokenBudget,
        seed: int,
        learning_rate: float,
    ) -> TuningSpec:
        study, method = self.study, METHODS[name]
        if method.floor:
            air, link, snr_db = NOISELESS, _floor_link(link), math.inf
        else:
            air = air_of(study, name, air)
        if not air.sets_snr:
            snr_db = math.nan
        crowd = None
        if study.emulate is not None and not method.floor:
            crowd = study.emulate.training_crowd
        bandwidth_hz = link.bandwidth_hz
        shared: dict[str, Any] = {
            "data": self._data,
            "models": study.models,
            "air": air,
            "link": air.matters(link) if crowd is None else link,
            "snr_db": snr_db,
            "seed": seed,
            "federation": None if method.floor else study.federation,
            "crowd": crowd,
            "question_tokens": study.question_tokens,
            "caption_tokens": study.caption_tokens,
        }
        alignment = (
            None
            if method.alignment == "none"
            else AlignmentSpec(
                contrastive=method.alignment == "contrastive",
                files=method.transport == "file",
                tokens=tokens,
                alignment=study.alignment,
                **{**shared, "snr_db": self._alignment_snr_db(air, snr_db, bandwidth_hz)},
            )
        )
        tuning = study.fine_tuning
        return TuningSpec(
            method=name,
            alignment=alignment,
            tokens=None if method.floor else tokens,
            steps=tuning.floor_steps if method.floor else tuning.steps,
            batch_size=tuning.batch_size,
            learning_rate=learning_rate,
            schedule=tuning.schedule,
            warmup_steps=tuning.warmup_steps,
            gradient_clip=tuning.gradient_clip,
            rescale_receivers=tuning.rescale_receivers,
            answer_loss=tuning.answer_loss,
            drop_modality=0.0 if method.floor else tuning.drop_modality,
            **shared,
        )

    def _alignment_snr_db(self, air: AirConfig, snr_db: float, bandwidth_hz: float) -> float:
        """Of stage 1: as in stage 2, unless the study says otherwise."""
        own_db = self.study.alignment.snr_db
        if own_db is None or not air.sets_snr:
            return snr_db
        return snr_at_bandwidth(self.study, own_db, bandwidth_hz)

    def _budget(self, tokens: TokenBudget, bandwidth_hz: float) -> TokenBudget:
        study = self.study
        self.shapes.check(tokens)
        link = study.link_at(bandwidth_hz)
        link.blocks_per_device(3)
        if study.deadline_ms is None or study.deadline_policy == "late":
            return tokens
        return fit(link, tokens, study.question_tokens, self.shapes.token_width, study.deadline_ms)

    def _counts(self, modality: str) -> tuple[int, ...]:
        return tuple(sorted({getattr(budget, modality) for budget in self.budgets.values()}))
