"""Verdicts on claims: in each condition, about parts, token lengths and training losses."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

import studies
from studies.cli.screen import claims_table, differences_table
from studies.plan.cells import Plan
from studies.plan.claims import Claim
from studies.plan.specs import Cell
from studies.plan.study import Study
from studies.storage.folder import StudyFolder
from studies.tables.claims import judge, unjudged, verdict
from studies.tables.comparison import compare_methods
from studies.tables.files import Tables
from studies.tables.layout import layout_of

from ..outcomes import finish, tables_of
from ..small import small_study
from .conftest import CLAIMS, accuracy


def test_a_claim_is_what_its_interval_says() -> None:
    assert verdict(0.01, 0.05) == "shown"
    assert verdict(-0.01, 0.05) == "not shown"
    assert verdict(-0.05, -0.01) == "contradicted"
    assert verdict(0.01, 0.05, by=0.02) == "not shown"
    assert verdict(-0.01, 0.05, by=-0.02) == "shown"
    assert verdict(math.nan, math.nan) == "not shown"


def test_a_studys_claims_are_judged_in_each_condition(study: Study, page: Path) -> None:
    found = studies.judge(page.parents[1])
    first = found[found["claim"] == "aligned is more accurate than unaligned"]
    assert len(first) == 4
    assert set(first.loc[first["eval_snr_db"] == 0, "verdict"]) == {"shown"}
    assert set(first.loc[first["eval_snr_db"] == 10, "verdict"]) == {"not shown"}
    assert set(first["source"]) == {"a paper's Fig. 2"}
    margin = "unaligned is more accurate than aligned by more than 0.05 at 0 dB"
    reverse = found[found["claim"] == margin]
    assert list(reverse["eval_snr_db"]) == [0.0, 0.0]
    assert set(reverse["verdict"]) == {"contradicted"}
    last = found[found["claim"] == "aligned loses less than 0.9 against blind (audio_counting)"]
    assert set(last["verdict"]) == {"shown"}


def test_claims_at_different_snrs_are_rows_of_their_own() -> None:
    pair = {"better": "aligned", "than": "unaligned"}
    claims = [Claim(**pair), Claim(**pair, eval_snr_db=0), Claim(**pair, eval_snr_db=[0, 10.5])]
    verdicts = [{"claim": own.text, "source": "", "verdict": "shown"} for own in claims]
    assert claims_table(pd.DataFrame(verdicts)).row_count == 3
    assert claims[2].text == "aligned is more accurate than unaligned at 0, 10.5 dB"


def test_a_claim_about_what_a_study_leaves_out_is_untested(tables: Tables) -> None:
    """A preset's methods may be set to others, or its task to a part of it."""
    claims = [{"better": "align", "than": "blind"}, {**CLAIMS[0], "part": "x"}]
    study = Study(name="a", methods=["aligned"], claims=claims)
    found = judge(tables, pd.read_parquet(tables.folder.results), study.claims)
    assert list(found["verdict"]) == ["untested", "untested"]
    reasons = found["reason"].tolist()
    assert "no finished cell of the method 'align'" in reasons[0]
    assert "no part or group 'x' of the task" in reasons[1]
    with pytest.raises(ValueError, match="by 2 of accuracies should be above -1 and below 1"):
        Study(name="a", claims=[{"better": "aligned", "than": "blind", "by": 2}])


def test_claims_that_nothing_can_judge_are_named_before_the_study_runs() -> None:
    wrong = {
        "no method 'align'; there are: aligned, blind": {"better": "align", "than": "blind"},
        "its two sides are the same": {"better": "aligned", "than": "aligned"},
        "its two sides are the same; give than_tokens": {"tokens": {"audio": 16}}
        | {"than": "aligned"},
        "no token lengths {'audio': 5, 'vision': 16}": {
            "tokens": {"audio": 16, "vision": 16},
            "than": "aligned",
            "than_tokens": {"audio": 5},
        },
        "no token lengths {'audio': 5}": {"tokens": {"audio": 5}},
        "no part or group 'x'": {"part": "x"},
        "no token length of a device 'audio' of 'blind'; it has none": {
            "than_tokens": {"audio": 16}
        },
        "no token length of a device 'image' of 'aligned'; there are: audio, vision": {
            "tokens": {"image": 4}
        },
        "the training loss of a reference is compared with no other": {"measure": "training_loss"},
        "eval_snr_db is 0, 10": {"eval_snr_db": 7},
    }
    right = [
        {"better": "aligned", "than": "blind", "tokens": {"audio": 16}, "eval_snr_db": [7, 10]}
    ]
    claims = [{"better": "aligned", "than": "blind", **keys} for keys in wrong.values()]
    study = Study(name="a", methods=["aligned"], eval_snr_db=[0, 10], claims=[*right, *claims])
    found = unjudged(study, layout_of(study))
    assert len(found) == len(wrong)
    umi = Study(name="a", methods=["aligned"], airs=["umi"], claims=[*right, claims[-1]])
    assert unjudged(umi, layout_of(umi)) == []
    assert all(reason in note for reason, note in zip(wrong, found, strict=True))


def test_a_claim_at_an_snr_that_was_not_evaluated_says_so(
    tables: Tables, results: pd.DataFrame
) -> None:
    claim = Claim(better="aligned", than="unaligned", eval_snr_db=99)
    (reason,) = judge(tables, results, [claim])["reason"]
    assert reason == (
        "no finished cell of the method 'aligned' at 99 dB; there are some at 0, 10 dB"
    )


def test_a_claim_can_be_about_two_token_lengths(tmp_path: Path) -> None:
    """Long tokens of the worse method are better than short ones of the other one."""
    long, short = {"audio": 16, "vision": 16}, {"audio": 4, "vision": 4}
    study = Study(
        name="a",
        methods=["aligned", "unaligned"],
        tokens=[short, long],
        seeds=[0, 1, 2],
        claims=[
            {"better": "aligned", "than": "unaligned", "than_tokens": long},
            {"better": "aligned", "tokens": long, "than": "aligned", "than_tokens": short},
            {"better": "aligned", "tokens": short, "than": "unaligned"},
            {"better": "aligned", "tokens": {"audio": 4, "vision": 16}, "than": "unaligned"},
            {"better": "aligned", "than": "unaligned", "than_tokens": {"image": 4}},
        ],
    )
    tables = tables_of(study, StudyFolder(tmp_path))

    def accuracy(cell: Cell, snr_db: float) -> float:
        longer = cell.trained.tokens.get("audio") == 16
        return 0.2 + 0.1 * (cell.method == "aligned") + 0.4 * longer

    results = finish(study, tables.folder, accuracy)
    first, second, third, *untested = (judge(tables, results, [own]) for own in study.claims)
    assert list(first["tokens_audio"]) == [4, 16]
    assert list(first["verdict"]) == ["contradicted", "shown"]
    assert set(first["claim"]) == {
        "aligned is more accurate than unaligned at 16 audio, 16 vision tokens"
    }
    assert second[["tokens_audio", "verdict"]].to_numpy().tolist() == [[16, "shown"]]
    assert third[["tokens_audio", "verdict"]].to_numpy().tolist() == [[4, "shown"]]
    assert [rows["verdict"].item() for rows in untested] == ["untested", "untested"]
    assert "no finished cell of the method 'aligned at 4 audio, 16" in untested[0]["reason"].item()
    assert "no token length of a device 'image'; there are: " in untested[1]["reason"].item()


def test_a_claim_can_be_about_how_fast_a_method_learns(tmp_path: Path) -> None:
    """The seeds' networks are paired: they differ more than the methods."""
    long, short = {"audio": 16, "vision": 16}, {"audio": 4, "vision": 4}
    measure = {"measure": "training_loss"}
    study = Study(
        name="a",
        methods=["aligned", "unaligned"],
        tokens=[short, long],
        eval_snr_db=[0, 10],
        seeds=[0, 1, 2],
        claims=[
            {"better": "aligned", "than": "unaligned", **measure},
            {"better": "aligned", "than": "aligned", "tokens": short, "than_tokens": long}
            | measure,
            {"better": "aligned", "than": "unaligned", "by": 0.2, **measure},
            {"better": "aligned", "than": "reconstruction", **measure},
        ],
    )
    tables = tables_of(study, StudyFolder(tmp_path))
    results = finish(study, tables.folder, accuracy)
    for cell in Plan(study).known_cells({}):
        better = 0.1 * (cell.method == "aligned") + 0.001 * cell.seed
        better += 0.01 * (cell.trained.tokens.get("audio") == 16)
        phase = tmp_path / "phase.parquet"
        losses = [{"task": 1.0 / (1 + step) + cell.seed - better} for step in range(5)]
        tables.write_phase_curves(phase, "fine-tuning", losses)
        tables.write_curves(cell, [phase])
    faster, longer, margin, unknown = (judge(tables, results, [own]) for own in study.claims)
    assert list(faster["tokens_audio"]) == [4, 16]
    assert faster["difference"].tolist() == pytest.approx([0.1, 0.1])
    assert set(faster["verdict"]) == {"shown"}
    assert faster["claim"][0] == "aligned learns with less loss than unaligned"
    assert longer["difference"].tolist() == pytest.approx([-0.01])
    assert set(margin["verdict"]) == {"contradicted"}
    assert "no trained network" in unknown["reason"].item()
    with pytest.raises(ValueError, match="a training loss has no part and no eval_snr_db"):
        Study(name="a", claims=[{**CLAIMS[1], **measure}])


def test_a_margin_of_a_training_loss_is_in_nat() -> None:
    pair = {"better": "aligned", "than": "unaligned", "measure": "training_loss"}
    texts = [Claim(**pair, by=by).text for by in (1.5, -0.1)]
    assert texts == [
        "aligned learns with less loss than unaligned, by more than 1.5",
        "aligned learns with less than 0.1 more loss than unaligned",
    ]


@pytest.mark.parametrize(
    ("last", "verdict"), [([{"task": math.nan}] * 2, "not shown"), ([{}] * 2, "shown")]
)
def test_a_network_that_diverged_has_not_learned_faster(
    tmp_path: Path, last: list[dict[str, float]], verdict: str
) -> None:
    """Its good steps alone would have less loss than all steps of another. A step in which nothing
    has arrived has no loss at all, and counts for nothing.
    """
    claim = {"better": "unaligned", "than": "aligned", "measure": "training_loss"}
    study = Study(name="a", methods=["aligned", "unaligned"], seeds=[0, 1, 2], claims=[claim])
    tables = tables_of(study, StudyFolder(tmp_path))
    results = finish(study, tables.folder, accuracy)
    for cell in Plan(study).known_cells({}):
        phase = tmp_path / "phase.parquet"
        other = cell.method == "unaligned" and cell.seed == 1
        losses = [{"task": 1.0 - 0.1 * (cell.method == "unaligned") - 0.01 * step * cell.seed}
                  for step in range(4)]  # fmt: skip
        if other:
            losses[2:] = last
        tables.write_phase_curves(phase, "fine-tuning", losses)
        tables.write_curves(cell, [phase])
    found = judge(tables, results, study.claims)
    assert found[["seeds", "verdict"]].to_numpy().tolist() == [[3, verdict]]
    assert math.isnan(found["difference"].item()) == (verdict == "not shown")


def _write_curve(tables: Tables, cell: Cell, value: float) -> None:
    """Writes the curve of a cell whose loss is ``value`` at every step."""
    phase = tables.folder.root / "phase.parquet"
    tables.write_phase_curves(phase, "fine-tuning", [{"task": value}] * 3)
    tables.write_curves(cell, [phase])


def test_networks_that_conditions_share_are_one_condition_with_all_their_seeds(
    tmp_path: Path,
) -> None:
    """Bandwidths share networks under fixed_psd; one of their cells may have failed."""
    study = Study(
        name="a",
        methods=["aligned", "unaligned"],
        bandwidth_hz=[2.5e6, 5e6, 1e7],
        seeds=[0, 1, 2],
        claims=[{"better": "aligned", "than": "unaligned", "measure": "training_loss"}],
    )
    tables = tables_of(study, StudyFolder(tmp_path))
    results = finish(study, tables.folder, accuracy)
    keys: dict[tuple[float, int], str] = {}
    for cell in (own for own in Plan(study).known_cells({}) if own.reference is None):
        better = 0.1 * (cell.method == "aligned")
        _write_curve(tables, cell, 1.0 + cell.seed - better * (1 + 0.01 * cell.seed))
        if cell.method == "aligned":
            keys[cell.bandwidth_hz, cell.seed] = cell.key
    one_lost, others_lost = [(2.5e6, 1)], [(2.5e6, 1), (2.5e6, 2), (5e6, 0), (5e6, 2)]
    for lost in ([], one_lost, others_lost):
        failed = results["cell"].isin([keys[own] for own in lost])
        kept = results.assign(status=results["status"].mask(failed, "failed"))
        (found,) = judge(tables, kept, study.claims).to_dict("records")
        assert (found["seeds"], found["verdict"]) == (3, "shown")
        assert found["difference"] == pytest.approx(0.101)


def test_a_training_loss_has_no_more_seeds_than_were_trained(tmp_path: Path) -> None:
    """Each length of a device that the other method lacks is a condition of its own."""
    study = Study(
        name="a",
        data={"miniclevr": {}},
        task="clevr",
        methods=["aligned", "taichi"],
        tokens=[{"terminal": terminal, "image": 36} for terminal in (36, 9)],
        seeds=[0, 1],
        claims=[{"better": "aligned", "than": "taichi", "measure": "training_loss"}],
    )
    folder = StudyFolder(tmp_path)
    tables = tables_of(study, folder)
    folder.begin(study)
    for cell in (own for own in Plan(study).known_cells({}) if own.reference is None):
        phase = tmp_path / "phase.parquet"
        loss = 1.0 + cell.seed + 0.01 * cell.trained.tokens.get("terminal", 0)
        tables.write_phase_curves(phase, "fine-tuning", [{"task": loss}])
        tables.write_curves(cell, [phase])
        tables.write_failure(cell, "its answers do not count")
    results = tables.read_results(Plan(study).known_cells({})).assign(status="ok")
    found = judge(tables, results, study.claims)
    assert found[["tokens_terminal", "tokens_image"]].to_numpy().tolist() == [[9, 36], [36, 36]]
    assert found["seeds"].tolist() == [2, 2]
    assert found["difference"].tolist() == pytest.approx([0.09, 0.36])
    assert set(found["verdict"]) == {"not shown"}  # two seeds are no interval


def test_a_claim_that_no_cell_can_judge_is_untested(tmp_path: Path, study: Study) -> None:
    tables = tables_of(study, StudyFolder(tmp_path))
    results = finish(study, tables.folder, accuracy)
    for file in results.loc[results["method"] == "unaligned", "cell"]:
        tables.folder.result(file).unlink(missing_ok=True)
    found = studies.judge(tmp_path)
    row = found[found["claim"] == "aligned is more accurate than unaligned"].iloc[0]
    assert row["verdict"] == "untested"
    assert "no finished cell of the method 'unaligned'" in row["reason"]


def test_methods_whose_lengths_a_deadline_chose_are_compared_at_the_deadline(
    tmp_path: Path,
) -> None:
    study = small_study(
        methods=["aligned", "digital"],
        digital={"mcs": 10},
        airs=["awgn"],
        eval_snr_db=[10],
        bandwidth_hz=[5e6],
        tokens=[{"audio": 48, "vision": 48}],
        deadline_ms=[14, 20],
        deadline_policy="fit",
        seeds=[0, 1, 2],
        claims=[{"better": "aligned", "than": "digital"}],
    )
    tables = tables_of(study, StudyFolder(tmp_path))
    results = finish(study, tables.folder, lambda cell, _: 0.9 if cell.method == "aligned" else 0.5)
    found = judge(tables, results, study.claims)
    assert list(found["deadline_ms"]) == [14, 20]
    assert set(found["verdict"]) == {"shown"}
    assert list(found["tokens_audio"]) == [48, 48]
    assert list(found["tokens_audio_second"]) == [39, 48]
    shown = differences_table(found, "aligned", "digital", tables.layout)
    assert "tokens of digital" in [str(column.header) for column in shown.columns]
    assert not unjudged(study, tables.layout)
    reference = compare_methods(tables, results, "aligned", "blind")
    assert list(reference["tokens_audio"]) == [48]
