import pytest
import torch

from tokcom_core.systems.mlms.alignment import info_nce
from tokcom_core.systems.tokens import reconstruction_loss


@pytest.mark.parametrize("temperature", [0.03, 0.07, 0.13])
def test_info_nce_is_equation_11(temperature: float) -> None:
    features = torch.randn(6, 16, dtype=torch.float64)
    anchors = torch.randn(6, 16, dtype=torch.float64)
    expected = 0.0
    for m in range(6):
        sims = [torch.dot(features[m], a) / (features[m].norm() * a.norm()) for a in anchors]
        terms = torch.stack([torch.exp(s / temperature) for s in sims])
        expected += float(-torch.log(terms[m] / terms.sum())) / 6
    assert float(info_nce(features, anchors, temperature)) == pytest.approx(expected)


def test_info_nce_stays_finite_at_a_small_temperature() -> None:
    anchors = torch.eye(4) * 1e3
    features = (-torch.eye(4) * 1e3).requires_grad_()
    loss = info_nce(features, anchors, 0.01)
    loss.backward()
    assert torch.isfinite(loss)
    assert loss > 99  # the own pair is opposite: similarity -1 over 0.01
    assert features.grad is not None
    assert torch.isfinite(features.grad).all()
    with pytest.raises(ValueError, match="positive"):
        info_nce(features, anchors, 0.0)


def test_reconstruction_ignores_padding() -> None:
    sent, valid = torch.randn(2, 3, 4), torch.tensor([[True, True, False], [True, False, False]])
    received = sent + 0.5
    received[~valid] += 100
    assert float(reconstruction_loss(received, sent, valid)) == pytest.approx(0.25)
