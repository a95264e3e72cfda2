"""Schedulers: who gets the band."""

from __future__ import annotations

import pytest
import torch

from channel_models.users.scheduling import SchedulerName, make_scheduler

USERS = 6


def _serve(name: SchedulerName, rates: torch.Tensor, count: int = 1) -> list[list[int]]:
    """Everybody always waits; ``rates`` ``[intervals, U]``."""
    scheduler = make_scheduler(name, USERS)
    everybody = torch.ones(USERS, dtype=torch.bool)
    return [scheduler.choose(everybody, row, count).tolist() for row in rates]


def test_round_robin_takes_turns_among_those_who_wait() -> None:
    assert _serve("round-robin", torch.ones(4, USERS), 4) == [
        [0, 1, 2, 3],
        [4, 5, 0, 1],
        [2, 3, 4, 5],
        [0, 1, 2, 3],
    ]
    scheduler = make_scheduler("round-robin", USERS)
    waiting = torch.tensor([True, False, True, False, False, True])
    served = [scheduler.choose(waiting, torch.ones(USERS), 2).tolist() for _ in range(3)]
    assert served == [[0, 2], [5, 0], [2, 5]]


def test_max_sinr_takes_the_best() -> None:
    rates = torch.tensor([[1.0, 5.0, 2.0, 4.0, 3.0, 0.0]])
    assert _serve("max-sinr", rates, 3) == [[1, 3, 4]]


def test_proportional_fair_gives_all_alike_and_rides_the_peaks() -> None:
    """Of users ten times apart each is served as often; and at better moments than by chance."""
    generator = torch.Generator().manual_seed(1)
    fading = -torch.rand(6000, USERS, generator=generator).log()
    rates = fading * torch.logspace(-0.5, 0.5, USERS)
    served = torch.tensor(_serve("proportional-fair", rates))[1000:, 0]
    shares = torch.bincount(served, minlength=USERS) / len(served)
    torch.testing.assert_close(shares, torch.full((USERS,), 1 / USERS), atol=0.03, rtol=0)
    gain = fading[1000:].gather(1, served[:, None]).mean()
    harmonic = sum(1 / k for k in range(1, USERS + 1))  # the mean of the largest of six
    assert float(gain) == pytest.approx(harmonic, rel=0.05)


def test_proportional_fair_gives_all_alike_where_nothing_limits_the_rate() -> None:
    served = torch.tensor(_serve("proportional-fair", torch.full((600, USERS), torch.inf)))
    assert torch.equal(torch.bincount(served[:, 0]), torch.full((USERS,), 100))


def test_proportional_fair_tells_apart_those_who_have_waited_for_long() -> None:
    """Their mean rates decay by 2 % an interval, to less than float32 tells from zero."""
    scheduler = make_scheduler("proportional-fair", USERS)
    alone = torch.arange(USERS) == 0
    for _ in range(6000):
        scheduler.choose(alone, torch.ones(USERS), 1)
    waiting = ~alone
    for best in (3, 1, 5):
        rates = torch.ones(USERS)
        rates[best] = 2.0
        assert scheduler.choose(waiting, rates, 1).tolist() == [best]
        waiting[best] = False


@pytest.mark.parametrize("name", ["round-robin", "proportional-fair", "max-sinr"])
def test_a_restored_scheduler_goes_on_alike(name: SchedulerName) -> None:
    rates = torch.rand(40, USERS, generator=torch.Generator().manual_seed(2))
    everybody = torch.ones(USERS, dtype=torch.bool)
    whole = make_scheduler(name, USERS)
    expected = [whole.choose(everybody, row, 2).tolist() for row in rates]
    first, second = make_scheduler(name, USERS), make_scheduler(name, USERS)
    got = [first.choose(everybody, row, 2).tolist() for row in rates[:17]]
    second.restore(first.state())
    got += [second.choose(everybody, row, 2).tolist() for row in rates[17:]]
    assert got == expected


def test_nobody_is_chosen_who_does_not_wait() -> None:
    for name in ("round-robin", "proportional-fair", "max-sinr"):
        waiting = torch.tensor([False, True, False, False, False, False])
        chosen = make_scheduler(name, USERS).choose(waiting, waiting.float(), 4)
        assert chosen.tolist() == [1]
