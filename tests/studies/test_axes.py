"""Transmit powers, numbers of users and bits of a value are axes of a study, as other budgets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import ValidationError

from actors import EmulationConfig, Faults
from channel_models import DigitalConfig, Link
from studies import budget, compare, curve, judge, summarise
from studies.cli.plan_tables import plan_tables
from studies.cli.screen import conditions_table
from studies.errors import explain
from studies.figures.report import write_report
from studies.plan.cells import Plan
from studies.plan.differences import differences
from studies.plan.specs import Cell
from studies.plan.study import Study
from studies.plan.swept import SweptLink
from studies.storage.folder import StudyFolder
from studies.tables.findings import Findings
from studies.tables.layout import layout_of
from studies.tables.service import emulated

from .here import run_here
from .outcomes import finish, tables_of
from .screen import screen_text
from .small import ours, planned, small_study

LINK = {"name": "rayleigh", "digital": {"bits": 8}}
GROWN: dict[str, dict[str, Any]] = {
    "digital": {"digital": {"bits": [4, 16]}},
    "emulate": {"emulate": {"users": [20, 9]}},
    "link": {"link": {"tx_power_dbm": [20, 10]}},
}
"""More values of a key that has one."""


def _study(**keys: Any) -> Study:
    return Study(name="s", **keys)


def _cells(**keys: Any) -> list[Cell]:
    return ours(planned(**keys)[1])


def _accuracy(cell: Cell, snr_db: float) -> float:
    """More bits of a value are better, more users worse."""
    return 0.6 + 0.01 * (cell.bits_per_value or 0) - 0.05 * cell.users


def _louder(cell: Cell, snr_db: float) -> float:
    """More power is better."""
    return 0.6 + 0.01 * (cell.max_tx_power_dbm or 0)


@pytest.fixture(scope="module")
def bits_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of token symbols, and of packets of two numbers of bits."""
    claims = [
        {"better": "digital", "than": "aligned"},
        {"better": "digital", "than": "aligned", "measure": "training_loss"},
    ]
    methods = ["aligned", "digital"]
    study = _study(methods=methods, digital={"bits": [4, 16]}, claims=claims, seeds=[0, 1, 2])
    out = tmp_path_factory.mktemp("bits")
    finish(study, StudyFolder(out), _accuracy)
    return out


def test_each_number_of_users_is_a_cell() -> None:
    """They share their training, unless the same users train."""
    cells = _cells(methods=["aligned"], emulate={"users": [100, 500], "duration_s": 2})
    assert [cell.emulate for cell in cells] == [
        EmulationConfig(users=users, duration_s=2) for users in (100, 500)
    ]
    assert [cell.users for cell in cells] == [100, 500]
    assert len({cell.trained.key for cell in cells}) == 1
    trained = _cells(methods=["aligned"], emulate={"users": [100, 500], "trains": True})
    populations = [cell.trained.crossing and cell.trained.crossing.population for cell in trained]
    assert [own and own.users for own in populations] == [100, 500]
    assert len({cell.trained.key for cell in trained}) == 2


def test_bits_of_a_value_make_cells_of_methods_with_packets_alone() -> None:
    """A file and symbols are the same at all bits, and an air's own link keeps its bits."""
    file = {"name": "aligned", "label": "file", "transport": {"question": "file"}}
    methods = ["aligned", "digital", file]
    cells = _cells(methods=methods, airs=["awgn", LINK], digital={"bits": [4, 16]})
    found = sorted((c.method, c.crossing.air.name, c.bits_per_value or 0) for c in cells)
    assert found == [
        *(("aligned", "awgn", 0), ("aligned", "rayleigh", 8)),
        *(("digital", "awgn", 4), ("digital", "awgn", 16), ("digital", "rayleigh", 8)),
        *(("file", "awgn", 0), ("file", "rayleigh", 8)),
    ]
    assert len({c.trained.key for c in cells if c.crossing.air.name == "awgn"}) == 4


def test_bits_matter_to_phases_with_packets_alone() -> None:
    """Captions are sent in the alignment, neither in fine-tuning nor in the test."""
    method = {"name": "aligned", "transport": {"caption": "digital"}}
    cells = _cells(methods=[method], digital={"bits": [4, 16]})
    four, sixteen = cells
    assert [cell.bits_per_value for cell in cells] == [4, 16]
    assert four.trained.parent and sixteen.trained.parent
    assert four.trained.parent.crossing != sixteen.trained.parent.crossing
    assert four.trained.crossing == sixteen.trained.crossing
    assert four.crossing == sixteen.crossing


def test_each_transmit_power_is_a_cell_with_a_training_of_its_own() -> None:
    """Phases that cross no air, and references, are the same at all powers."""
    keys: dict[str, Any] = {"airs": ["umi"], "link": {"tx_power_dbm": [3, 23], "access": "tdma"}}
    methods = [{"name": "taichi", "codec": {"symbols_per_token": 8}}]
    data = {"miniclevr": {"images": 40}}
    low, high = _cells(methods=methods, task="clevr", data=data, tokens={"terminal": 9}, **keys)
    assert (low.max_tx_power_dbm, high.max_tx_power_dbm) == (3, 23)
    assert {cell.crossing.link.access for cell in (low, high)} == {"tdma"}
    for one, other in zip(low.trained.lineage, high.trained.lineage, strict=True):
        assert (one.key == other.key) == (one.crossing is None)
    both = planned(methods=["aligned"], **keys)[1]
    assert [cell.max_tx_power_dbm for cell in both] == [None, None, 3, 23]


def test_fit_gives_fewer_bits_more_tokens() -> None:
    keys: dict[str, Any] = {"digital": {"mcs": 7, "bits": [4, 16]}, "bandwidth_hz": 2e7}
    keys |= {"tokens": {"audio": 50, "vision": 50}, "deadline_policy": "fit", "deadline_ms": 8}
    few, many = (cell.trained.tokens["vision"] for cell in _cells(methods=["digital"], **keys))
    alone = _cells(methods=["digital"], **{**keys, "digital": {"mcs": 7, "bits": 16}})
    assert [cell.trained.tokens["vision"] for cell in alone] == [many]
    assert many < few
    fixed = {"name": "rayleigh", "digital": {"bits": 4, "mcs": 7}}
    once = _cells(methods=["digital"], **{**keys, "airs": [fixed]})
    assert [cell.trained.tokens["vision"] for cell in once] == [few]


@pytest.mark.parametrize(
    ("keys", "cell", "trained"),
    [
        (
            {"methods": ["digital"], "digital": {"bits": 4}},
            "cell-6933e2740d9d6cd1",
            "fine-tuning-4fd0214d3549fbfa",
        ),
        (
            {"methods": ["aligned"], "emulate": {"users": 20}},
            "cell-d49e577d063bb0c4",
            "fine-tuning-3de3162fcc68ba96",
        ),
        (
            {"methods": ["aligned"], "airs": ["umi"], "link": {"tx_power_dbm": 20}},
            "cell-2d32139571901038",
            "fine-tuning-61c3e5cb6bc98092",
        ),
    ],
)
def test_a_single_value_has_the_artifacts_that_it_had(
    keys: dict[str, Any], cell: str, trained: str
) -> None:
    """Names of artifacts from before these keys took lists; a longer list keeps them."""
    (found,) = _cells(**keys)
    assert (found.key, found.trained.key) == (cell, trained)
    grown = GROWN[next(key for key in GROWN if key in keys)]
    assert _cells(**{**keys, **grown})[0].key == found.key
    assert differences(_study(**keys), _study(**{**keys, **grown})) == []
    assert differences(_study(**{**keys, **grown}), _study(**keys))


def test_configs_from_python_are_taken_as_their_keys_are() -> None:
    same = [SweptLink(antennas=2), Link(antennas=2), {"antennas": 2, "tx_power_dbm": 23}]
    assert _study(link=same[0]) == _study(link=same[1]) == _study(link=same[2])
    given = _study(
        emulate=EmulationConfig(users=20, faults=Faults(outage_sinr_db=0.0)),
        digital=DigitalConfig(bits=4),
    )
    keys = {"emulate": {"users": 20, "faults": {"outage_sinr_db": 0.0}}, "digital": {"bits": 4}}
    assert given == _study(**keys) == _study(emulate=given.emulate, digital=given.digital)


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({"digital": {"bits": 5}}, "digital.bits.0 should be 4, 8 or 16 (got 5)"),
        ({"digital": {"bits": [4, 4]}}, "digital.bits: values are repeated: 4, 4"),
        ({"digital": {"bits": []}}, "digital.bits should have 1 or more values"),
        (
            {"link": {"tx_power_dbm": [3, "loud"]}},
            "link.tx_power_dbm.1 should be a number (got 'loud')",
        ),
        ({"airs": ["umi"], "link": {"tx_power_dbm": [3, 3]}}, "link.tx_power_dbm: values are rep"),
        (
            {"airs": ["umi", "awgn"], "link": {"tx_power_dbm": [3, 23]}},
            "link.tx_power_dbm has 2 values, but air 'awgn' has the SNR that it is asked for",
        ),
        ({"emulate": {"users": [4, 0]}}, "emulate.users.1 should be at least 1 (got 0)"),
        ({"emulate": {"users": [4, 4]}}, "emulate.users: values are repeated: 4, 4"),
        (
            {"emulate": {"users": [3, 4], "trains": True}, "federation": {"users": 3}},
            "federation.users 3 and emulate.users 3, 4 should be the same",
        ),
    ],
)
def test_values_that_cannot_be_are_one_line(keys: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError) as refused:
        _study(**keys)
    said = explain(refused.value, Study)
    assert said.startswith(complaint)
    assert "\n" not in said


def test_a_plan_has_columns_of_what_is_swept(tmp_path: Path) -> None:
    def planned(**keys: Any) -> str:
        return screen_text(plan_tables(_study(**keys), StudyFolder(tmp_path / "out"))[0])

    methods = ["aligned", "digital"]
    one = planned(methods=methods)
    assert "bits" not in one and "users" not in one
    several = planned(methods=methods, digital={"bits": [4, 16]})
    rows = [line.split() for line in several.splitlines() if line.split()]
    at = rows[1].index("bits") + 2  # "trained at (dB)" is three words
    assert [row[at - 4] for row in rows if row[0] in methods] == ["-", "4", "16"]
    users = planned(methods=["aligned"], emulate={"users": [100, 500]})
    assert "users" in users and " 100 " in users and " 500 " in users
    powers = planned(methods=["aligned"], airs=["umi"], link={"tx_power_dbm": [-7, 23]})
    assert "dBm" in powers and " -7 " in powers and " 23 " in powers


def test_a_smoke_test_has_the_first_bits() -> None:
    keys: dict[str, Any] = {"digital": {"bits": [16, 4], "mcs": 7}, "emulate": {"users": [4, 9]}}
    study = _study(scale="smoke", link={"tx_power_dbm": [3, 9], "access": "tdma"}, **keys)
    assert (study.link.tx_power_dbm, study.link.access) == ((3,), "tdma")
    assert (study.digital.bits, study.digital.mcs) == ((16,), 7)
    assert study.emulate is not None
    assert study.emulate.users == (4,)


def test_symbols_are_compared_with_packets_of_all_bits(bits_out: Path) -> None:
    found = compare(bits_out, "digital", "aligned").set_index("bits_per_value")
    assert sorted(found.index) == [4, 16]
    assert (found["difference"] > 0).all()
    assert found.loc[16, "difference"] > found.loc[4, "difference"]
    assert len(compare(bits_out, "digital", "blind")) == 2
    verdicts = judge(bits_out)
    assert sorted(verdicts["bits_per_value"]) == [4, 4, 16, 16]
    assert not verdicts["verdict"].eq("untested").any()


def test_packets_are_compared_with_packets_of_as_many_bits(tmp_path: Path) -> None:
    methods = ["digital", {"name": "digital", "label": "twin"}]
    study = _study(methods=methods, digital={"bits": [4, 16]})
    finish(study, StudyFolder(tmp_path), _accuracy)
    found = compare(tmp_path, "digital", "twin")
    assert found["difference"].eq(0).all()
    assert sorted(found["bits_per_value"]) == [4, 16]


def test_symbols_of_one_air_are_compared_where_another_has_a_link(tmp_path: Path) -> None:
    study = _study(methods=["aligned", "digital"], airs=["rayleigh", LINK], digital={"bits": 4})
    finish(study, StudyFolder(tmp_path), _accuracy)
    found = compare(tmp_path, "aligned", "digital").set_index("air")["difference"]
    assert len(found) == 2
    assert found["rayleigh"] < 0 == found.drop("rayleigh").item()


def test_bits_are_shown_where_they_vary(bits_out: Path, tmp_path: Path) -> None:
    summary = summarise(bits_out)
    assert "bits" in screen_text(conditions_table(summary, layout_of(StudyFolder(bits_out).open())))
    assert summary["bits_per_value"].notna().sum() == 2
    lines = curve(summary[~summary["method"].isin(["blind", "text-oracle"])])
    assert lines.columns.names == ["method", "bits_per_value"]
    assert len(budget(bits_out, 5e6)) == 3
    study, folder = StudyFolder(bits_out).open(), StudyFolder(bits_out)
    tables = tables_of(study, folder)
    results = tables.read_results(Plan(study).known_cells({}))
    write_report(Findings(study, tables, results))
    drawn = pd.read_csv(folder.report / "accuracy_by_snr.csv")
    assert list(drawn["line"].unique()) == [
        "aligned, 16+16 tokens",
        "digital, 16+16 tokens, 4 bits",
        "digital, 16+16 tokens, 16 bits",
        *("text oracle", "blind"),
    ]
    assert drawn["panel"].nunique() == 1
    assert "bits of a value" in (folder.report / "report.html").read_text()

    one = _study(methods=["aligned", "digital"])
    results = finish(one, StudyFolder(tmp_path), _accuracy)
    assert results["bits_per_value"].dropna().tolist() == [8]
    assert "bits" not in screen_text(conditions_table(summarise(tmp_path), layout_of(one)))
    write_report(Findings(one, tables_of(one, StudyFolder(tmp_path)), results))
    drawn = pd.read_csv(StudyFolder(tmp_path).report / "accuracy_by_snr.csv")
    methods = drawn.loc[drawn["snr_db"].notna(), "line"]
    assert list(methods.unique()) == ["aligned, 16+16 tokens", "digital, 16+16 tokens"]
    assert "bits_per_value</" not in (StudyFolder(tmp_path).report / "report.html").read_text()


def test_users_who_ask_are_a_row_for_each_number(minimusic: Path, tmp_path: Path) -> None:
    """One user of an emulation is emulated as well."""
    emulate = {"users": [1, 3], "duration_s": 1.0, "questions_per_s": 6.0}
    study = small_study(
        data={"folder": str(minimusic)},
        emulate=emulate,
        claims=[{"better": "aligned", "than": "blind"}],
    )
    results = run_here(study, tmp_path / "out")
    ours = results[results["method"] == "aligned"]
    assert ours["users"].tolist() == [1, 3]
    assert emulated(results)["cell"].tolist() == ours["cell"].tolist()
    assert judge(tmp_path / "out")["users"].tolist() == [1, 3]
    folder = StudyFolder(tmp_path / "out")
    write_report(Findings(study, tables_of(study, folder), results))
    page = (folder.report / "report.html").read_text()
    assert "rayleigh, 1 user, 4+4 tokens" in page
    assert "rayleigh, 3 users, 4+4 tokens" in page
    assert "4+4 tokens, seed" not in page
    of_two = pd.concat([results.assign(seed=1, cell=results["cell"]), results])
    write_report(Findings(study, tables_of(study, folder), of_two))
    assert "3 users, 4+4 tokens, seed 0" in (folder.report / "report.html").read_text()


def test_powers_stand_in_the_place_of_snrs(tmp_path: Path) -> None:
    """In the table, paired differences, claims, what a link can carry, and the charts."""
    claims = [{"better": "aligned", "than": "reconstruction"}]
    link = {"tx_power_dbm": [-7, 13, 23]}
    study = _study(
        methods=["aligned", "reconstruction"], airs=["umi"], link=link, claims=claims, seeds=[0, 1]
    )
    folder = StudyFolder(tmp_path)
    results = finish(study, folder, _louder)
    ours = results[results["method"] == "aligned"]
    assert sorted(ours["max_tx_power_dbm"].unique()) == [-7, 13, 23]
    summary = summarise(tmp_path)
    shown = screen_text(conditions_table(summary, layout_of(study)))
    assert "dBm" in shown and " -7 " in shown
    lines = curve(summary.query("method == 'aligned'"), x="max_tx_power_dbm")
    assert lines["aligned"].is_monotonic_increasing and len(lines) == 3
    assert sorted(compare(tmp_path, "aligned", "blind")["max_tx_power_dbm"]) == [-7, 13, 23]
    assert len(judge(tmp_path)) == 3
    assert sorted(budget(tmp_path, 5e6)["max_tx_power_dbm"].unique()) == [-7, 13, 23]
    write_report(Findings(study, tables_of(study, folder), results))
    by_power = pd.read_csv(folder.report / "accuracy_by_snr.csv")
    assert sorted(by_power["max_tx_power_dbm"].dropna().unique()) == [-7, 13, 23]
    assert by_power["panel"].nunique() == 1
    by_uses = pd.read_csv(folder.report / "accuracy_by_overhead.csv")
    assert {"aligned, -7 dBm", "aligned, 23 dBm"} <= {*by_uses["line"]}
    by_group = pd.read_csv(folder.report / "accuracy_by_group.csv")
    assert by_group["panel"].str.endswith("23 dBm").all()
    learnt = pd.read_csv(folder.report / "learning_curves.csv")
    assert {"aligned, 16+16 tokens, -7 dBm", "aligned, 16+16 tokens, 23 dBm"} <= {*learnt["line"]}
    page = (folder.report / "report.html").read_text()
    assert "transmit power (dBm)" in page and "Accuracy by transmit power" in page
