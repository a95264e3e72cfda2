"""Columns follow from a study's systems and task, and stay as they are."""

from __future__ import annotations

import pyarrow as pa
import pytest

from studies.plan.study import Study
from studies.tables.columns import SCHEMA_VERSION, VERSION_KEY, ReferenceColumn, TableLayout
from studies.tables.layout import layout_of

RESULTS = """
study cell seed method air access train_snr_db train_snr_span_db
eval_snr_db realised_snr_db realised_sinr_db ebn0_db erased_fraction
bandwidth_hz max_tx_power_dbm deadline_ms meets_deadline bits_per_value
tokens_text tokens_audio tokens_vision tokens_total
devices users answered_fraction transmissions
latency_ms latency_p50_ms latency_p95_ms latency_p99_ms late_fraction answers_per_s fairness
lost_outage_fraction lost_deadline_fraction lost_straggler_fraction
accuracy accuracy_low accuracy_high first_token_accuracy test_questions
accuracy_audio_counting accuracy_audio_comparative
accuracy_visual_counting accuracy_visual_location
accuracy_audio_visual_existential accuracy_audio_visual_counting accuracy_audio_visual_location
accuracy_audio_visual_comparative accuracy_audio_visual_temporal
task_loss first_token_loss blind_accuracy text_oracle_accuracy majority_accuracy
uplink_channel_uses pilot_channel_uses control_bits payload_bits downlink_bits exchanged_bits
feedback_bits
airtime_ms energy_mj device_gflop bs_gflop device_ms station_ms
train_steps train_channel_uses train_airtime_s train_energy_j train_uplink_bits train_downlink_bits
learning_rate wall_s status reason config versions
"""
CELL = """
study cell seed method air access train_snr_db train_snr_span_db bandwidth_hz max_tx_power_dbm
deadline_ms users bits_per_value tokens_audio tokens_vision
"""
CURVES = """
phase step task first_token reconstruction_caption reconstruction_question contrastive_audio
contrastive_vision loss_rate_vision loss_rate_audio loss_rate_caption loss_rate_question emulated_s
samples channel_uses_vision channel_uses_audio channel_uses_caption channel_uses_question
uplink_bits gradient_bits tx_power_dbm
"""
ANSWERS = "eval_snr_db user sample_id media_id group right exact first_token predicted latency_ms"
DEVICES = """
eval_snr_db user device modality tokens realised_snr_db realised_sinr_db erased_fraction
outage_fraction questions accuracy transmissions uplink_channel_uses payload_bits airtime_ms
energy_mj x_m y_m height_m path_loss_db tx_power_dbm
"""
CONDITION = """
method air access bandwidth_hz max_tx_power_dbm deadline_ms users bits_per_value train_snr_db
train_snr_span_db tokens_audio tokens_vision eval_snr_db
"""


@pytest.fixture
def radio() -> TableLayout:
    """Of a system that has nothing in common with paper 1's."""
    return TableLayout(
        devices=("left", "right", "radio"),
        swept_devices=("radio",),
        references=(ReferenceColumn("majority-vote", "lower"),),
        losses=("pose", "pose_smoothness"),
        streams=("left", "right", "radio"),
    )


def test_the_columns_of_paper_1_stay_as_they_are() -> None:
    layout = layout_of(Study(name="s"))
    assert layout.results.names == RESULTS.split()
    assert layout.cell_columns == tuple(CELL.split())
    assert layout.phase_curves.names == CURVES.split()
    assert layout.curves.names == [*CELL.split(), *CURVES.split()]
    assert layout.answers.names == [*CELL.split(), *ANSWERS.split()]
    assert layout.devices_table.names == [*CELL.split(), *DEVICES.split()]
    assert layout.condition == tuple(CONDITION.split())
    assert layout.sort_by == (*layout.condition, "seed", "cell")


def test_columns_follow_from_another_system(radio: TableLayout) -> None:
    names = radio.results.names
    assert [n for n in names if n.startswith("tokens_")] == [
        *("tokens_left", "tokens_right", "tokens_radio", "tokens_total"),
    ]
    assert [n for n in names if n.startswith("accuracy")] == [
        *("accuracy", "accuracy_low", "accuracy_high"),
    ]
    assert [n for n in names if n.endswith("_accuracy")] == [
        *("first_token_accuracy", "majority_vote_accuracy", "majority_accuracy"),
    ]
    assert radio.condition[-2:] == ("tokens_radio", "eval_snr_db")
    assert radio.cell_columns[-2:] == ("bits_per_value", "tokens_radio")
    assert radio.phase_curves.names == [
        *("phase", "step", "pose", "pose_smoothness"),
        *("loss_rate_left", "loss_rate_right", "loss_rate_radio", "emulated_s"),
        *("samples", "channel_uses_left", "channel_uses_right", "channel_uses_radio"),
        *("uplink_bits", "gradient_bits", "tx_power_dbm"),
    ]
    assert radio.curves.field("loss_rate_left").type == pa.float64()
    assert radio.reference_methods == ("majority-vote",)
    assert radio.references[0].label == "majority vote"


def test_every_table_says_its_schema_version(radio: TableLayout) -> None:
    for schema in (
        radio.results,
        radio.curves,
        radio.phase_curves,
        radio.answers,
        radio.devices_table,
    ):
        assert schema.metadata == {VERSION_KEY: str(SCHEMA_VERSION).encode()}


def test_a_budget_in_words(radio: TableLayout) -> None:
    row = {"tokens_audio": 4.0, "tokens_vision": 16.0, "tokens_radio": 64.0}
    assert layout_of(Study(name="s")).budget_text(row) == "4+16"
    assert radio.budget_text(row) == "64"
    assert radio.budget_text({"tokens_radio": 0.0}) == "-"  # a method of another system
    assert TableLayout(devices=("left",), losses=("pose",)).budget_text(row) == "-"
