"""Methods of the TaiChi paper, its ablations, and the models that it is compared with."""

from __future__ import annotations

from typing import Any

METHODS: dict[str, dict[str, Any]] = {
    "taichi": {
        "summary": "TaiChi: BAN, KAN and a split language model, coded jointly with the channel",
        "coding": "joint",
    },
    "taichi-cross-entropy": {
        "summary": "the channel codec alone trained by the answers' cross-entropy",
        "coding": "cross-entropy",
    },
    "taichi-mse": {
        "summary": "the channel codec alone trained by the states' squared error",
        "coding": "mse",
    },
    "taichi-relay": {
        "summary": "every generated token returns to the terminal and its state crosses the air",
        "decoding": "relay",
    },
    "taichi-no-ban": {  # the paper does not say what takes BAN's place
        "summary": "without BAN (Table III): the sum of both tokenizers' features",
        "fusion": {"kind": "addition"},
    },
    "taichi-low": {
        "summary": "the low-resolution tokenizer alone",
        "fusion": {"kind": "low"},
    },
    "taichi-high": {
        "summary": "the high-resolution tokenizer alone",
        "fusion": {"kind": "high"},
    },
    "taichi-mlp": {
        "summary": "without KAN (Table III): a projector of two linear layers, as large as KAN",
        "projector": {"kind": "mlp"},
    },
    "mini-gemini": {
        "summary": "Mini-Gemini: patch mining, which is BAN's bottom-up branch, and an MLP",
        "fusion": {"kind": "mining"},
        "projector": {"kind": "mlp"},
    },
    "mobilevlm": {
        "summary": "MobileVLM: the low-resolution tokenizer and LDP, a quarter of the tokens",
        "fusion": {"kind": "low"},
        "projector": {"kind": "ldp"},
    },
}

_PHASE: dict[str, Any] = {"warmup_fraction": 0.03, "weight_decay": 0.0}
TAICHI_PAPER: dict[str, Any] = {
    "systems": {
        "taichi": {
            "pretraining": {**_PHASE, "batch_size": 256, "learning_rate": 1e-3},
            "tuning": {
                **_PHASE,
                "batch_size": 128,
                "learning_rate": 2e-5,
                "station_learning_rate": None,
            },
        }
    }
}
"""What the paper says of its training (Section VI): learning rates, batch sizes and the cosine
schedule. Warm-up and weight decay are those of Mini-Gemini. One epoch, as in Mini-Gemini, has to be
set as a number of steps."""
