"""The sizes and rates of the published code of DeepSC, T- and U-DeepSC, as keys of a study.

DeepSC-VQA has no public code, so it gets DeepSC's sizes. T-DeepSC gets U-DeepSC's ViT of 6 layers;
its own has 4 (``methods: [{name: t-deepsc, image: {size: {depth: 4}}}]``). Both read region
features of a frozen detector in VQA; a frozen CLIP is the nearest encoder that is still in use.
Their text encoder is a pretrained BERT-small that is trained further; here a transformer of its
size reads the last states of a frozen BERT. DeepSC-VQA reads that BERT's word vectors.

Numbers of steps stand for their epochs (80 of DeepSC, 200 of the others): check the validation
curve. AdamW's betas and weight decay are not theirs. Nor are the SNRs of training, which are the
study's (theirs: 5 to 10 dB for DeepSC, 12 dB for U-DeepSC).
"""

from __future__ import annotations

from typing import Any

CLIP = {"name": "clip", "checkpoint": "openai/clip-vit-large-patch14-336"}
BERT = "google-bert/bert-base-uncased"
_DEEPSC = {"width": 128, "depth": 4, "heads": 8, "feedforward": 512, "norm": "last"}
_DEEPSC_CODE = {"reals": 16, "hidden": 256, "decoder_hidden": 512}
_DEEPSC_TRAINING = {"steps": 40_000, "batch_size": 128, "learning_rates": [1e-4]}
_UNIFIED_TRAINING = {"steps": 200_000, "batch_size": 50, "learning_rates": [3e-5]}

PUBLISHED: dict[str, Any] = {
    "systems": {
        "deepsc": {
            "text": {"tokenizer": BERT, "size": _DEEPSC, "code": _DEEPSC_CODE},
            "decoder": _DEEPSC,
            "transceiver": _DEEPSC_TRAINING,
            "training": _DEEPSC_TRAINING,
        },
        "udeepsc": {
            "image": {
                "encoder": CLIP,
                "detail": None,
                "size": {"width": 384, "depth": 6, "heads": 6, "feedforward": 1536},
                "vectors": 3,
                "code": {"reals": 16},
            },
            "text": {
                "tokenizer": BERT,
                "layer": -1,
                "size": {"width": 512, "depth": 4, "heads": 8, "feedforward": 2048, "norm": "last"},
                "vectors": 2,
                "code": {"reals": 6},
            },
            "decoder": {"width": 128, "depth": 2, "heads": 4, "feedforward": 512, "norm": "last"},
            "queries": 25,
            "answers": {"classes": 3129, "loss": "sigmoid"},
            "semantic": None,
            "training": _UNIFIED_TRAINING,
            "dropout": 0.1,
        },
        "deepsc_vqa": {
            "image": {"encoder": CLIP, "detail": None, "size": _DEEPSC, "code": _DEEPSC_CODE},
            "text": {"tokenizer": BERT, "layer": 0, "size": _DEEPSC, "code": _DEEPSC_CODE},
            "fusion": _DEEPSC,
            "answers": {"classes": 3129, "loss": "softmax"},
            "semantic": None,
            "training": _DEEPSC_TRAINING,
            "dropout": 0.1,
        },
    }
}
