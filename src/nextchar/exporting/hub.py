"""`push`: send a model to the Hugging Face Hub, with a card written from its provenance."""

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nextchar.errors import ConfigError, HubError
from nextchar.exporting.card import MARK, card, training_text, write
from nextchar.storage import MODEL, VERSION, ModelFile, ModelSource, encode_model, model_path, read_model, to_file
from nextchar.text.hub import LOGIN, hub, parse_address

CARD, CONFIG = "README.md", "config.json"
LICENCE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,60}")
LICENCES = "mit, apache-2.0, cc-by-4.0, cc-by-sa-4.0, cc0-1.0 or other"


@dataclass(frozen=True, slots=True)
class Upload:
    """What is sent, or was sent.

    Attributes:
        repository: USER/NAME on the Hub.
        files: Content by name.
        measured: Whether the card says how much is copied.
        private: Whether only its owner can read it.
        commit: The hash of the commit; empty before it is sent.
    """

    repository: str
    files: dict[str, bytes]
    measured: bool
    private: bool = False
    commit: str = ""

    def __repr__(self) -> str:
        return f"<Upload {self.address}, {', '.join(self.files)}{'' if self.commit else ', not sent'}>"

    @property
    def url(self) -> str:
        """The page of the repository."""
        return f"{os.environ.get('HF_ENDPOINT', 'https://huggingface.co').rstrip('/')}/{self.repository}"

    @property
    def address(self) -> str:
        """Where the model can be read, with the hash of the commit if there is one."""
        return f"hf://{self.repository}" + (f"@{self.commit}" if self.commit else "")

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        files = [
            {"name": name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in self.files.items()
        ]
        beside = {"private": self.private, "sent": bool(self.commit), "commit": self.commit or None}
        return {"address": self.address, **beside, "files": files, "card": self.files.get(CARD, b"").decode()}


def push(
    model: ModelSource,
    repository: str,
    *,
    licence: str,
    private: bool = False,
    against: str = "",
    dry_run: bool = False,
) -> Upload:
    """Send a model to the Hub: its file as it is, a card, and a small config.json, by which downloads are counted.

    The repository is made if it does not exist. A card on the Hub that was written by hand is kept.

    Args:
        model: A model, a model file or a path.
        repository: USER/NAME.
        licence: Of the model, by the identifier that the Hub uses, such as "mit" or "cc-by-4.0".
        private: Whether only its owner can read it.
        against: The training text, to measure how much is copied; by default that of the run, if it is at hand.
        dry_run: Whether to return what would be sent, and send nothing.

    Raises:
        ConfigError: The repository or the licence has no valid name, or is public and should be private.
        HubError: There is no token, it has no right to write there, or the Hub cannot be reached.
        MissingExtraError: huggingface_hub is not installed.

    Example:
        >>> nextchar.push("runs/book", "user/name", licence="mit", dry_run=True)
    """
    repository, licence = check_push(repository, licence, dry_run=dry_run)
    upload = _prepare(model, repository, licence, private, against)
    return upload if dry_run else _send(upload)


def check_push(repository: str, licence: str, *, dry_run: bool) -> tuple[str, str]:
    """Check what can be checked before the model is read; return the repository and the licence as the Hub writes them.

    Raises:
        ConfigError: The repository or the licence has no valid name.
        HubError: There is no token, unless nothing is sent.
        MissingExtraError: huggingface_hub is not installed.
    """
    address = parse_address(repository)
    if str(address) != f"hf://{address.repository}":
        raise ConfigError(f"a model is sent to USER/NAME, but {repository} was given")
    if not isinstance(licence, str) or not LICENCE.fullmatch(licence.lower()):
        raise ConfigError(f"the licence is {licence!r}, but must be an identifier of the Hub, such as {LICENCES}")
    if not dry_run:
        with hub(address) as library:
            if not library.get_token():
                raise HubError(f"{address}: there is no token of the Hub to write with; {LOGIN}")
    return address.repository, licence.lower()


def _prepare(model: ModelSource, repository: str, licence: str, private: bool, against: str) -> Upload:
    """Read the model, and write its card."""
    place = model_path(model) if isinstance(model, str | Path) else None
    file = read_model(place) if place else to_file(model)
    sample, copied = write(file, against or (training_text(file, place) if place else ""))
    files = {
        MODEL: place.read_bytes() if place else encode_model(file),
        CONFIG: json.dumps(_config(file), indent=2).encode() + b"\n",
        CARD: card(file, repository, licence, sample, copied).encode(),
    }
    return Upload(repository, files, bool(copied), private)


def _config(file: ModelFile) -> dict[str, Any]:
    shape = file.architecture.as_dict()
    size = {"vocabulary_size": len(file.vocabulary), "units": file.vocabulary.units}
    return {"library_name": "nextchar", "model_type": "nextchar", "format": VERSION, **shape, **size}


def _send(upload: Upload) -> Upload:
    """Make the repository if need be, and commit all files at once."""
    repository, address = upload.repository, f"hf://{upload.repository}"
    with hub(address) as library:
        api = library.HfApi(library_name="nextchar")
        api.create_repo(repository, private=upload.private or None, exist_ok=True)
        if upload.private and not api.model_info(repository).private:
            raise ConfigError(f"{address} exists and is public; make it private on the Hub, or leave out --private")
        sent = {
            name: content for name, content in upload.files.items() if name != CARD or _is_ours(library, repository)
        }
        operations = [library.CommitOperationAdd(name, content) for name, content in sent.items()]
        made = api.create_commit(repository, operations, commit_message="Model written by nextchar")
    return Upload(repository, sent, upload.measured, upload.private, made.oid)


def _is_ours(library: Any, repository: str) -> bool:
    """Return whether a repository has no card, or one that was written here and not by hand."""
    try:
        path = library.hf_hub_download(repository, CARD)
    except library.errors.EntryNotFoundError:
        return True
    return MARK in Path(path).read_text(encoding="utf-8", errors="replace")
