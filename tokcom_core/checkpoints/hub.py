"""Checkpoints of the Hugging Face Hub, looked up before they are loaded.

The look-up has a short timeout, because the loaders of Hugging Face retry for half a minute if
there is no network.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from huggingface_hub import (
    constants,
    get_hf_file_metadata,
    hf_hub_url,
    is_offline_mode,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    RepositoryNotFoundError,
)

_TIMEOUT_S = 5.0


@cache
def hub_source(name: str, kind: str, index: str = "config.json") -> str:
    """``name`` if the Hub serves it, else its folder in the Hugging Face cache.

    Args:
        name: Name of a model on the Hub.
        kind: Kind of the checkpoint, for messages.
        index: The file that every checkpoint of its kind has.

    Raises:
        ValueError: if neither has it.
    """
    try:
        refusal = _refusal(name, index)
    except HFValidationError:
        refusal = "there is no such folder, and no model on the Hub can be called so"
    if refusal is None:
        return name
    cached = cached_folder(name, index)
    if cached is not None:
        return str(cached)
    raise ValueError(
        f"no {kind} checkpoint {name!r}: {refusal}; take one of the package (tokcom zoo show), "
        f"a folder with a {index} or a model of the Hub"
    )


def cached_folder(name: str, index: str) -> Path | None:
    """Folder of a model in the Hugging Face cache, if its file ``index`` is there."""
    try:
        cached = try_to_load_from_cache(name, index)
    except HFValidationError:
        return None
    return Path(cached).parent if isinstance(cached, str) else None


def _refusal(name: str, index: str) -> str | None:
    """Reason why the Hub does not serve ``name``; None if it does."""
    url = hf_hub_url(name, index)  # raises HFValidationError
    place = f"the Hugging Face cache {constants.HF_HUB_CACHE}"
    if is_offline_mode():
        return f"HF_HUB_OFFLINE is set (unset it to download), and {place} does not have it"
    try:
        get_hf_file_metadata(url, timeout=_TIMEOUT_S)
    except GatedRepoError:
        return (
            f"access is granted by its owners: ask at {constants.ENDPOINT}/{name}, "
            f"then 'hf auth login'"
        )
    except RepositoryNotFoundError:
        return f"{constants.ENDPOINT} shows no such model (a private one needs 'hf auth login')"
    except EntryNotFoundError:
        return f"its repository holds no {index}"
    except Exception as error:  # whichever HTTP library this version of huggingface_hub uses
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        return f"{constants.ENDPOINT} cannot be reached ({reason}), and {place} does not have it"
    return None
