"""The closed set of answers of the DeepSC family."""

from __future__ import annotations

import pytest
import torch

from tokcom_core.datasets.samples import Samples
from tokcom_core.systems.deepsc.answers import AnswerSet
from tokcom_core.systems.deepsc.config import AnswerConfig


def _answers(loss: str, classes: int, learned: list[str], task: list[int]) -> AnswerSet:
    answers = AnswerSet(AnswerConfig.model_validate({"classes": classes, "loss": loss}))
    answers.learn(learned, torch.tensor(task), tasks=3)
    return answers


def test_answers_are_the_most_frequent_of_the_training_split() -> None:
    answers = _answers("sigmoid", 2, ["no", "yes", "red", "yes", "no", "two"], [0] * 6)
    assert answers.answers == ("no", "yes")
    logits = torch.tensor([[0.3, -0.2], [1.0, 2.0]])
    target = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    each = torch.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    found = answers.loss(logits, ["yes", "red"], torch.zeros(2, dtype=torch.long))
    torch.testing.assert_close(found, each.sum() / 2)


def test_softmax_leaves_out_answers_without_a_class() -> None:
    answers, task = _answers("softmax", 2, ["no", "yes"], [0, 0]), torch.tensor([0, 0])
    logits = torch.tensor([[0.3, -0.2], [1.0, 2.0]])
    expected = torch.nn.functional.cross_entropy(logits[:1], torch.tensor([1]))
    torch.testing.assert_close(answers.loss(logits, ["yes", "red"], task), expected)
    assert float(answers.loss(logits, ["red", "red"], task)) == 0.0


@pytest.mark.parametrize("loss", ["sigmoid", "softmax"])
def test_a_sample_has_the_answers_of_its_task_alone(loss: str) -> None:
    """Training 30 classes without an answer to be unlikely kept DeepSC at chance on reviews."""
    learned, task = ["no", "yes", "red", "good", "bad", "red"], [0, 0, 0, 1, 1, 0]
    both = _answers(loss, 32, learned, task)
    assert both.answers == ("red", "bad", "good", "no", "yes")
    logits = torch.randn(2, 32, requires_grad=True)
    mean = both.loss(logits, ["bad", "good"], torch.tensor([1, 1]))
    alone = _answers(loss, 2, ["bad", "good"], [0, 0])
    expected = alone.loss(logits[:, 1:3], ["bad", "good"], torch.tensor([0, 0]))
    torch.testing.assert_close(mean, expected)
    mean.backward()
    assert logits.grad is not None
    assert logits.grad.any(0).nonzero()[:, 0].tolist() == [1, 2]
    columns = dict.fromkeys(("sample_id", "media_id", "group"), ("",) * 3)
    truth = Samples({**columns, "answer": ("bad", "red", "red")})
    likely = torch.tensor([0.0, 1.0, 3.0, 2.0, 1.0, 4.0]).expand(3, -1)
    found = both.predict(likely, truth, torch.tensor([1, 0, 2]))
    assert found.texts == ("good", "no", "good"), "a task that is only tested on has all answers"
    counted = {"sigmoid": 3, "softmax": 2}[loss]  # of task 0 'bad' has no class
    other = both.predict(likely, truth, torch.tensor([0, 0, 2]))
    assert other.loss_counts == {"task": counted}
