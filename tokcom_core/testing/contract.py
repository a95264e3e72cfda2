"""The contract of systems, as tests to inherit; needs pytest."""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from .case import ROWS, SystemCase, fingerprint, handed_over


def _total(losses: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(losses)).sum()


class SystemContract:
    """Tests that every system passes; a subclass gives its system by the fixture :meth:`case`."""

    @pytest.fixture(scope="class")
    def case(self) -> SystemCase:
        """The system, and everything that it is built from."""
        raise AssertionError("a test class says what its system is built of")

    def test_names_are_those_of_streams_and_task(self, case: SystemCase) -> None:
        system, task, streams = case.system, case.task, case.streams
        assert len(streams) == len(system.streams(task, case.tokens))
        assert set(system.served(task)) <= set(streams)
        assert set(system.swept_devices(task)) == set(case.tokens) == set(system.max_tokens(task))
        assert set(case.tokens) <= {stream.device for stream in streams.values()}
        for stream in streams.values():
            assert stream.medium in (None, *task.media)
            assert stream.text in (None, *task.texts)
        names = [phase.name for phase in case.phases]
        assert len(set(names)) == len(names)
        for phase in case.phases:
            sent = {inputs.stream for inputs in phase.inputs}
            assert len(sent) == len(phase.inputs)
            assert sent <= set(streams)
            assert set(phase.dropped) <= sent
            splits = {inputs.split for inputs in phase.inputs}
            assert splits <= set(task.splits) - {task.validation_split, task.test_split}
            assert not phase.calibration_samples or len(splits) == 1

    def test_checkpoints_of_its_frozen_tokens_are_named(self, case: SystemCase) -> None:
        named = {checkpoint.name for checkpoint in case.system.checkpoints(case.task)}
        for device in {stream.device for stream in case.streams.values()}:
            for entries in case.system.features(case.task, device, case.tokens).values():
                for features in entries:
                    dumped = features.model_dump()
                    name = dumped.get("checkpoint") or dumped.get("encoder", {}).get("checkpoint")
                    assert name is None or name in named

    def test_token_lengths_that_cannot_be_are_refused(self, case: SystemCase) -> None:
        case.system.check(case.task, case.tokens)
        for device, longest in case.system.max_tokens(case.task).items():
            with pytest.raises(ValueError, match=str(longest + 1)):
                case.system.check(case.task, {**case.tokens, device: longest + 1})

    def test_operations_are_counted_before_there_are_weights(self, case: SystemCase) -> None:
        """A plan seeks the longest token lengths within a deadline: fewer must not take longer."""
        system, task = case.system, case.task
        counted = []
        for tokens in (dict.fromkeys(case.tokens, 1), case.tokens):
            sent = dict.fromkeys((stream.device for stream in case.streams.values()), 0.0)
            for stream in system.streams(task, tokens):
                if stream.name in system.served(task):
                    sent[stream.device] += stream.max_tokens
            counted.append(system.station_gflop(task, sent))
        fewest, most = counted
        assert 0 <= fewest <= most < math.inf

    def test_no_weight_depends_on_the_token_lengths_of_one_that_takes_any(
        self, case: SystemCase
    ) -> None:
        taken = dict.fromkeys(case.tokens, 1) if case.system.ANY_LENGTH else case.tokens
        expected = case.unsplit().named_parameters()
        parameters = replace(case, tokens=taken).unsplit().named_parameters()
        assert set(parameters) == set(expected)
        for name, parameter in parameters.items():
            assert torch.equal(parameter, expected[name]), name

    def test_shapes_and_types_of_what_is_sent(self, case: SystemCase) -> None:
        unsplit = case.unsplit()
        for inputs in {inputs for phase in case.phases for inputs in phase.inputs}:
            stream = case.streams[inputs.stream]
            symbols, valid = unsplit.send(inputs)
            assert symbols.dtype == torch.complex64
            assert valid.dtype == torch.bool
            assert symbols.shape == valid.shape
            assert len(symbols) == len(ROWS)
            assert symbols.shape[1] <= stream.max_tokens * stream.symbols_per_token
            tokens = valid.reshape(len(ROWS), -1, stream.symbols_per_token)
            assert torch.equal(tokens.any(2), tokens.all(2)), "a token is sent as a whole"
            assert valid.any(), "something is sent"
            if inputs.stream in case.system.served(case.task):
                assert valid.any(1).all(), "a sample sends something"

    def test_losses_are_those_that_are_announced(self, case: SystemCase) -> None:
        unsplit = case.unsplit()
        for phase in case.phases:
            losses = unsplit.losses(phase)
            assert set(losses) == set(phase.losses)
            for loss in losses.values():
                assert loss.shape == ()
                assert loss.isfinite()
        validation = unsplit.predict().losses
        assert case.system.validation_loss in validation
        assert set(validation) <= {"task", "first_token", *case.phases[-1].losses}

    def test_streams_that_are_aligned_have_embeddings_of_one_width(self, case: SystemCase) -> None:
        unsplit = case.unsplit()
        for phase in case.phases:
            sent = [inputs for inputs in phase.inputs if inputs.stream in phase.aligned]
            assert {inputs.stream for inputs in sent} == set(phase.aligned)
            if sent:
                received = {i.stream: handed_over(*unsplit.send(i)) for i in sent}
                embeddings = unsplit.receiver.embeddings(received)
                assert set(embeddings) == set(phase.aligned)
                assert len({embedding.shape for embedding in embeddings.values()}) == 1
                for embedding in embeddings.values():
                    assert len(embedding) == len(ROWS)
                    assert embedding.isfinite().all()

    def test_a_step_changes_exactly_what_a_phase_trains(self, case: SystemCase) -> None:
        unsplit = case.unsplit()
        unsplit.shake()
        wanted = {name for name, p in unsplit.named_parameters().items() if p.requires_grad}
        ever: set[str] = set()
        for phase in case.phases:
            learning = {id(parameter) for parameter in unsplit.trainable(phase.name)}
            before = {name: p.detach().clone() for name, p in unsplit.named_parameters().items()}
            optimiser = torch.optim.AdamW(unsplit.trainable(phase.name), lr=1e-3)
            _total(unsplit.losses(phase).values()).backward()
            optimiser.step()
            after = unsplit.named_parameters()
            changed = {name for name, p in after.items() if not torch.equal(p, before[name])}
            reached = {n for n, p in after.items() if p.grad is not None and id(p) in learning}
            assert changed == reached
            assert changed
            ever |= changed
            for parameter in after.values():
                parameter.grad = None
        assert sorted(ever) == sorted(wanted), "what requires gradients learns in some phase"

    def test_what_is_saved_is_loaded(self, case: SystemCase, tmp_path: Path) -> None:
        trained, fresh = case.unsplit(), case.unsplit()
        trained.shake()
        for name, side in trained.sides.items():
            side.save(tmp_path, name)
            fresh.sides[name].load(tmp_path, name)
        kept = fresh.named_parameters()
        for name, parameter in trained.named_parameters().items():
            assert torch.equal(parameter, kept[name]), name
        for name, side in trained.sides.items():
            state = fresh.sides[name].trained_state()
            assert all(torch.equal(value, state[k]) for k, value in side.trained_state().items())
        assert fresh.predict() == trained.predict()

    def test_weights_of_another_network_are_refused(self, case: SystemCase, tmp_path: Path) -> None:
        """Otherwise, random values would silently stay in their place."""
        sides = case.unsplit().sides
        for name, side in sides.items():
            side.save(tmp_path, name)
        for file in tmp_path.rglob("*.safetensors"):
            saved = load_file(file)
            save_file({f"another.{key}": value for key, value in saved.items()}, file)
        for name, side in sides.items():
            if side.trained_state():
                with pytest.raises(ValueError, match="weights are"):
                    side.load(tmp_path, name)

    def test_the_same_in_another_process(self, case: SystemCase) -> None:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            elsewhere = pool.apply(fingerprint, (case,))
        assert fingerprint(case) == elsewhere

    def test_torchs_own_generator_is_left_alone(self, case: SystemCase) -> None:
        torch.manual_seed(1)
        expected = torch.rand(3)
        torch.manual_seed(1)
        case.receiver()
        assert torch.equal(torch.rand(3), expected)

    def test_a_phase_does_not_depend_on_what_it_leaves_out(self, case: SystemCase) -> None:
        """:meth:`System.for_phase` keeps everything that the phase computes."""
        expected = case.unsplit()
        for phase in case.phases:
            reduced = replace(case, system=case.system.for_phase(phase.name))
            (same,) = (other for other in reduced.phases if other.name == phase.name)
            assert same == phase
            losses = reduced.unsplit().losses(same)
            for name, loss in expected.losses(phase).items():
                assert torch.equal(losses[name], loss), name

    def test_the_truth_only_scores_the_answers(self, case: SystemCase) -> None:
        unsplit = case.unsplit()
        texts = unsplit.predict().texts
        others = case.batch(case.task.test_split).answer
        assert unsplit.predict(truth=[*texts[:2], *others[2:]]).texts == texts

    def test_only_what_is_asked_is_answered(self, case: SystemCase) -> None:
        unsplit = case.unsplit()
        everything = unsplit.predict()
        asked = (True, False, True, True)
        some = unsplit.predict(asked)
        for name in ("texts", "first_token"):
            wanted = zip(getattr(everything, name), asked, strict=True)
            assert getattr(some, name) == tuple(value for value, ask in wanted if ask)
