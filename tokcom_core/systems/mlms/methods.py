"""Methods that paper 1 and its studies compare, and the recipe of its authors."""

from __future__ import annotations

from typing import Any

METHODS: dict[str, dict[str, Any]] = {
    "aligned": {
        "summary": "paper 1: both stages",
        "alignment": {"losses": "contrastive"},
    },
    "reconstruction": {
        "summary": "alignment without the contrastive loss",
        "alignment": {"losses": "reconstruction"},
    },
    "unaligned": {
        "summary": "task-oriented fine-tuning alone",
        "alignment": {"losses": "none"},
    },
    "digital": {
        "summary": "aligned, the tokens sent as quantised, LDPC-coded packets",
        "alignment": {"losses": "contrastive"},
        "transport": {"media": "digital", "texts": "digital"},
    },
    "raw-upload": {
        "summary": "aligned, the coded media files uploaded and encoded at the base station",
        "alignment": {"losses": "contrastive"},
        "transport": {"media": "file", "texts": "digital"},
    },
    "text-as-bytes": {
        "summary": "aligned, the question sent as a coded packet of its UTF-8 bytes",
        "alignment": {"losses": "contrastive"},
        "transport": {"question": "file"},
    },
}

# The settings of the code of paper 1's authors, to the letter as far as training goes. One thing
# differs: their code does not leave padding out of losses, pooling and attention, which is done
# here (docs/systems.md, "Recipes").
PAPER1: dict[str, Any] = {
    "systems": {
        "mlms": {
            "models": {
                "slide": "all",
                "slide_rounding": "floor",
                "frames": "first",
                "vision_crop": "center",
            },
            "alignment": {
                "steps": 500,
                "batch_size": 32,
                "learning_rate": 1e-4,
                "temperature": 0.07,
                "pooling": {"vision": "cls", "audio": "first_two"},
                "train_anchor": True,
                "reconstruct_questions": False,
                "gradient_clip": None,
                "snr_db": 10.0,
            },
            "fine_tuning": {
                "steps": 300,
                "reference_steps": 300,
                "batch_size": 8,
                "learning_rates": [1e-4],
                "schedule": "constant",
                "warmup_steps": 0,
                "gradient_clip": None,
                "rescale_receivers": False,
                "answer_loss": "first_token",
            },
        }
    },
    "evaluation": {"metric": "first_token"},
}
