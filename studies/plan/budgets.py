"""Token lengths within a deadline, and SNR under a power mode."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace

from actors import EmulationConfig, interval_s, share_of
from channel_models import AirBase, DigitalConfig, InfeasibleBudgetError, Link
from tokcom_core.systems import Stream, System, devices_of, transport_of
from tokcom_core.tasks import Task

from .contenders import Contender, air_of, transports_of
from .operations import Operations, longest_tokens, served_streams
from .study import Study
from .swept import mcs_choices
from .token_lengths import TokenLengths

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Budget:
    """A link, a deadline and users, with the token lengths that a system sends under them.

    Attributes:
        bandwidth_hz: Bandwidth of the link.
        tx_power_dbm: Maximum transmit power of a device.
        deadline_ms: Deadline of a question; None if there is none.
        emulate: Emulation of the users who ask; None for a single user.
        digital: Link of the packets, if any are sent.
        tokens: Token lengths: those that the study asks for, or the longest within the deadline.
        infeasible: Reason why the link cannot carry them; None if it can.
    """

    bandwidth_hz: float
    tx_power_dbm: float
    deadline_ms: float | None
    emulate: EmulationConfig | None
    digital: DigitalConfig
    tokens: TokenLengths
    infeasible: str | None = None

    def same_link(self, other: Budget) -> bool:
        """Whether bandwidth, transmit power and digital link are those of another budget."""
        return all(
            getattr(self, name) == getattr(other, name)
            for name in ("bandwidth_hz", "tx_power_dbm", "digital")
        )


def budget_of(study: Study, contender: Contender, asked: Budget) -> Budget:
    """The budget that a method gets where the study asks for ``asked``.

    Raises:
        ValueError: if ``fit`` cannot know how long the method's packets take.
    """
    own = contender.system.swept_devices(study.task)
    tokens = {name: count for name, count in asked.tokens.items() if name in own}
    budget = replace(asked, tokens=tokens)
    try:
        devices = len(devices_of(served_streams(contender.system, study.task, tokens)))
        link = user_link(study, budget.bandwidth_hz, devices)
        if tokens and budget.deadline_ms is not None and study.deadline_policy == "fit":
            budget = replace(budget, tokens=fit(study, contender, budget, link))
    except InfeasibleBudgetError as error:
        return replace(budget, infeasible=str(error))
    return budget


def user_link(study: Study, bandwidth_hz: float, devices: int) -> Link:
    """The link of a user with ``devices`` devices, who may share the band with other users.

    Raises:
        InfeasibleBudgetError: if the band is too narrow for all of them.
    """
    link = study.link_at(bandwidth_hz)
    link.blocks_per_device(devices)
    if study.emulate is None:
        return link
    return share_of(link, study.emulate.users_at_once, devices)


def fit(study: Study, contender: Contender, budget: Budget, link: Link) -> TokenLengths:
    """The longest token lengths, in the proportion of the budget's, that meet its deadline.

    The lengths meet it on all airs of the study, and the system accepts them, for instance as whole
    grids of an image. The latency is that of the longest sample: the computing time of
    :func:`operations_of_longest`, and the airtime, with packets sent once. The sizes of files, and
    the number of rounds that an answer takes, are not known yet.

    Args:
        study: Study.
        contender: Method.
        budget: Budget with a deadline and the token lengths that the study asks for.
        link: Link of one user.

    Raises:
        InfeasibleBudgetError: if even one token of each device does not meet the deadline.
        ValueError: for packets whose MCS follows the channel.
    """
    tokens, deadline_ms, compute = budget.tokens, budget.deadline_ms, study.compute
    assert deadline_ms is not None
    top = max(tokens.values())

    def lengths(part: int) -> dict[str, int]:
        return {name: max(1, count * part // top) for name, count in tokens.items()}

    def streams_at(part: int) -> tuple[Stream, ...]:
        return served_streams(contender.system, study.task, lengths(part))

    def needed_ms(part: int) -> float:
        airtime_ms = _airtime_ms(study, contender, budget.digital, streams_at(part), link)
        operations = operations_of_longest(study, contender, lengths(part))
        return operations.device_ms(compute) + airtime_ms + operations.station_ms(compute)

    in_time = bisect_left(range(top + 1), True, key=lambda n: not meets(deadline_ms, needed_ms(n)))
    for part in reversed(range(in_time)):
        if _takes(contender.system, study.task, lengths(part)):
            return lengths(part)
    streams, operations = streams_at(0), operations_of_longest(study, contender, lengths(0))
    rest = ", ".join(f"{s.max_tokens} of {s.name}" for s in streams if s.device not in tokens)
    spent_ms = {
        "encoding": operations.device_ms(compute),
        "at the base station": operations.station_ms(compute),
    }
    computed = " and ".join(f"{ms:.3g} ms of them {what}" for what, ms in spent_ms.items() if ms)
    raise InfeasibleBudgetError(
        f"deadline_ms {deadline_ms:g} is too short: one token of each device"
        f"{f' and {rest}' if rest else ''} take {needed_ms(0):.3g} ms"
        f"{f', {computed},' if computed else ''} "
        f"at {link.bandwidth_hz:g} Hz; take a longer one, or more bandwidth"
    )


def meets(deadline_ms: float | None, latency_ms: float | None) -> bool:
    """Whether a latency meets a deadline; always true without a deadline.

    A latency of None means that nothing was received, which meets no deadline. A latency equal to
    the deadline, up to rounding, meets it: airtimes are whole OFDM symbols.
    """
    if deadline_ms is None:
        return True
    return latency_ms is not None and latency_ms <= deadline_ms * (1 + _ROUNDING)


def _takes(system: System, task: Task, lengths: TokenLengths) -> bool:
    try:
        system.check(task, lengths)
    except ValueError:
        return False
    return True


def operations_of_longest(study: Study, contender: Contender, lengths: TokenLengths) -> Operations:
    """Operations of a method's longest sample, with one window for each encoder."""
    system, task = contender.system, study.task
    streams = served_streams(system, task, lengths)
    sent = longest_tokens(streams)
    windows = {
        device: dict.fromkeys(system.features(task, device, lengths), 1.0) for device in sent
    }
    files = {s.name for s in streams if transport_of(s, contender.transport) == "file"}
    return Operations(system, task, lengths, sent, windows, files)


def loss_at_bandwidth_db(study: Study, bandwidth_hz: float) -> float:
    """SNR loss against the reference bandwidth: with ``fixed_power``, 3 dB for each doubling."""
    if study.power_mode == "fixed_psd":
        return 0.0
    return 10 * math.log10(bandwidth_hz / study.reference_bandwidth_hz)


def _airtime_ms(
    study: Study,
    contender: Contender,
    digital: DigitalConfig,
    streams: Sequence[Stream],
    link: Link,
) -> float:
    """Airtime of the longest sample on the slowest air; streams that travel as files are left out.

    In an emulation it is a whole scheduling interval.
    """
    if study.emulate is not None:
        return 1e3 * interval_s(link, streams)
    senders = [stream.device for stream in streams]
    airtimes = []
    for air in study.airs:
        transports, on_air = transports_of(study, contender, air), air_of(contender, air, digital)
        uses = []
        for stream in streams:
            travels, of_token = transports[stream.name], stream.symbols_per_token
            if travels == "digital":
                of_token = _packet_uses(contender, on_air, of_token)
            uses.append(0.0 if travels == "file" else float(stream.max_tokens * of_token))
        airtimes.append(link.joint_airtime_ms(senders, link.costs(uses, len(set(senders)))))
    return max(airtimes)


def _packet_uses(contender: Contender, air: AirBase, symbols: int) -> int:
    """Channel uses of one token's packet.

    Raises:
        ValueError: if its MCS follows the channel.
    """
    assert air.digital is not None
    uses = air.digital.token_channel_uses(symbols)
    if uses is None:
        known = mcs_choices(air.digital.fidelity)
        raise ValueError(
            f"method {contender.label!r}: deadline_policy fit does not know how long packets of "
            "digital.mcs adaptive take before there is a channel; take an MCS from "
            f"{known[0]} to {known[-1]}, or deadline_policy late"
        )
    return uses
