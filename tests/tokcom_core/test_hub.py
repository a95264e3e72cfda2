"""Names of the Hub: said at once where there is no network, no such model or no right to it."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

from tokcom_core.checkpoints import NamedCheckpoint, pocket_folder, resolve
from tokcom_core.checkpoints.presence import local_folder
from tokcom_core.encoders.named import token_width
from tokcom_core.encoders.text import TextEncoder

Hub = Callable[[str], None]


@pytest.fixture(autouse=True)
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Hub:
    """Sets the Hub's address; a port that nobody listens at until then. Nobody may wait."""

    def set_address(address: str) -> None:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)

    def refuse(seconds: float) -> None:
        raise AssertionError(f"waits for {seconds} s")

    monkeypatch.setattr("time.sleep", refuse)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    set_address("http://127.0.0.1:9")
    return set_address


@pytest.fixture
def answering(hub: Hub) -> Iterator[Callable[[int, str], None]]:
    """A Hub that answers every question with one status and one error of the Hub's."""
    answer = [200, ""]

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(int(answer[0]))
            if answer[1]:
                self.send_header("X-Error-Code", str(answer[1]))
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    hub(f"http://127.0.0.1:{server.server_port}")

    def set_answer(status: int, code: str = "") -> None:
        answer[:] = [status, code]

    yield set_answer
    server.shutdown()
    thread.join()
    server.server_close()


def _cache(folder: Path, name: str = "known") -> None:
    """Puts the pocket language model into the cache as ``nobody/NAME``."""
    model = folder / f"models--nobody--{name}"
    commit = "0" * 40
    shutil.copytree(pocket_folder() / "language", model / "snapshots" / commit)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text(commit)


@pytest.mark.parametrize("name", ["nobody/nothing", "nothing"])
def test_without_a_network_a_name_is_refused_at_once(name: str) -> None:
    with pytest.raises(ValueError, match=f"no language checkpoint '{name}'") as error:
        token_width(name)
    said = str(error.value)
    assert "\n" not in said
    assert "cannot be reached" in said
    assert "(tokcom zoo show), a folder with a config.json" in said


def test_offline_mode_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="HF_HUB_OFFLINE is set"):
        token_width("nobody/nothing")


@pytest.mark.parametrize("offline", [True, False])
def test_what_is_in_the_cache_needs_no_network(
    offline: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    _cache(tmp_path / "cache")
    encoder = TextEncoder("nobody/known", "cpu")
    assert encoder.ids("yes") == TextEncoder("pocket", "cpu").ids("yes")


@pytest.mark.parametrize(
    ("status", "code", "complaint"),
    [
        (401, "RepoNotFound", "shows no such model .a private one needs 'hf auth login'."),
        (403, "GatedRepo", "access is granted by its owners"),
        (404, "EntryNotFound", "holds no config.json"),
        (500, "", "cannot be reached"),
    ],
)
def test_what_the_hub_says(
    status: int, code: str, complaint: str, answering: Callable[[int, str], None]
) -> None:
    answering(status, code)
    with pytest.raises(ValueError, match=complaint):
        token_width("nobody/nothing")


def test_what_the_hub_has_is_left_to_it(answering: Callable[..., None]) -> None:
    answering(200)
    assert resolve("nobody/nothing", "language") == "nobody/nothing"


def test_a_name_that_cannot_be_is_refused(answering: Callable[..., None]) -> None:
    answering(200)
    with pytest.raises(ValueError, match="no such folder, and no model"):
        token_width("models/of/mine")


def test_a_relative_folder_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(pocket_folder() / "language", "models/small")
    assert token_width("models/small") == token_width("pocket")
    with pytest.raises(ValueError, match="no checkpoint in models: it should hold"):
        token_width("models")


def test_a_whole_checkpoint_in_the_cache_is_found_without_the_hub(tmp_path: Path) -> None:
    known = NamedCheckpoint("language", "nobody/cached")
    with pytest.raises(ValueError, match="cannot be reached"):
        local_folder(known)
    _cache(tmp_path / "cache", "cached")
    folder = local_folder(known)
    assert folder is not None
    assert folder.is_relative_to(tmp_path / "cache")
    (weights,) = folder.glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        local_folder(known)
    weights.unlink()
    with pytest.raises(ValueError, match=r"'nobody/cached' in .*: no file of weights"):
        local_folder(known)


def test_what_the_hub_has_is_not_downloaded(answering: Callable[..., None], tmp_path: Path) -> None:
    answering(200)
    assert local_folder(NamedCheckpoint("language", "nobody/nothing")) is None
    assert not (tmp_path / "cache").exists()


def test_a_folder_lacks_one_of_its_files_of_weights(tmp_path: Path) -> None:
    folder = tmp_path / "language"
    shutil.copytree(pocket_folder() / "language", folder)
    own = NamedCheckpoint("language", str(folder))
    assert local_folder(own) == folder
    shards = {"a": "model.safetensors", "b": "model-2.safetensors"}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": shards}))
    with pytest.raises(ValueError, match="1 of 2 files of weights are missing, model-2"):
        local_folder(own)
    for damaged in ("{", "{}", '{"weight_map": []}'):
        index.write_text(damaged)
        with pytest.raises(ValueError, match=r"model\.safetensors\.index\.json is damaged \("):
            local_folder(own)
