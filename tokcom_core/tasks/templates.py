"""Templates of instructions: the words around a question.

``short`` is for small models. ``paper`` has the texts of the TaiChi paper, Section V-A, for
captions and questions, as 'Instruction' and 'Input'. Short answers, which exact match can score,
are asked for as LLaVA does. The paper has no text for classification; ours follows its form.
"""

from __future__ import annotations

from typing import Literal

Templates = Literal["short", "paper"]
Kind = Literal["question", "short-answer", "choice", "caption", "classification"]
"""Kind of answer: free, one word or phrase, a letter, a description, positive or negative."""

_SHORT: dict[Kind, str] = {
    "question": "{question}",
    "short-answer": "{question}",
    "choice": "{question}",
    "caption": "describe the picture",
    "classification": "is this review positive or negative : {question}",
}

_QUESTION = (
    "Instruction: Please observe the provided image and read the question carefully to understand "
    "its specific requirements. Based on the content of the image, answer the question, ensuring "
    "that the answer is based on clearly observable information. If the question involves specific "
    "details (e.g., quantity, color, location), provide precise answers. If the question cannot be "
    "answered based on the image, respond with: 'Cannot obtain an answer from the image.' Finally, "
    "provide a concise and clear answer that fully satisfies the requirement of the question.\n"
    "Input: {question}"
)
_PAPER: dict[Kind, str] = {
    "question": _QUESTION,
    "short-answer": f"{_QUESTION}\nAnswer the question using a single word or phrase.",
    "choice": f"{_QUESTION}\nAnswer with the option's letter from the given choices directly.",
    "caption": (
        "Instruction: Please carefully observe the provided image and identify the main elements, "
        "including the scene (e.g., indoor, outdoor, city, nature, etc.), key objects (e.g., "
        "animals, people, buildings, tools, etc.), and any actions or activities (e.g., running, "
        "eating, reading, etc.). Based on this information, generate a natural language "
        "description that covers the key details of the image. Ensure the description is fluent, "
        "grammatically correct, and avoids excessive speculation, only describing what can be "
        "clearly observed in the image.\n"
        "Input: Image caption."
    ),
    "classification": (
        "Instruction: Please read the provided review carefully and decide whether its sentiment "
        "is positive or negative. Answer with 'positive' or 'negative' alone.\n"
        "Input: {question}"
    ),
}


def instruct(kind: Kind, question: str, templates: Templates) -> str:
    """The instruction that asks a question of a kind; captions need no question."""
    template = (_SHORT if templates == "short" else _PAPER)[kind]
    return template.replace("{question}", question)
