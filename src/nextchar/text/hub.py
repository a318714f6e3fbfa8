"""Models and texts on the Hugging Face Hub: addresses such as hf://user/name, and downloads into the Hub's own cache.

What is downloaded is untrusted: a file is fetched by its name, within a size, and read as data. Nothing of it is run.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any, Literal

from nextchar.errors import HubError, MissingExtraError, NextcharError
from nextchar.text.catalogue import import_quietly
from nextchar.text.paths import Text

LOGIN = "`hf auth login` stores a token, or set the environment variable HF_TOKEN"
NEWEST = "main"
ENDINGS = tuple(f".txt{ending}" for ending in ("", ".gz", ".bz2", ".xz"))  # of what is read where no file is named
LARGEST_MODEL = 1 << 32  # bytes
LISTED = 5  # files of a repository without any of these

# What is said of huggingface_hub's errors, the more special ones first.
REASONS = {
    "GatedRepoError": "its owner decides who may read it; ask for access at {server}, then log in ({login})",
    "RepositoryNotFoundError": "there is no such repository, or it is private; check the name, or log in ({login})",
    "RevisionNotFoundError": "there is no such revision; leave out @REVISION for the newest",
    "RemoteEntryNotFoundError": "the repository holds no such file",
    "OfflineModeIsEnabled": "HF_HUB_OFFLINE forbids the network, and the cache does not have it; unset it, or name another",
}
RIGHTS = {
    401: "the Hub does not accept the token; make another one at {server}/settings/tokens ({login})",
    403: "the Hub does not let this token write here; make one that may at {server}/settings/tokens ({login})",
}

_ADDRESS = re.compile(r"(?:(datasets|models)/)?([^/@]+/[^/@]+)(?:@(refs/\w+/[^/]+|[^/]+))?(?:/(.+))?")
_NAME = re.compile(r"\w(?:[\w.-]{0,94}\w)?", re.ASCII)
_REVISION = re.compile(r"\w[\w./-]{0,200}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Address:
    """A repository on the Hub, or a file in it.

    Attributes:
        repository: USER/NAME.
        kind: What the repository holds.
        revision: A branch, a tag or the hash of a commit.
        file: The path of a file; empty for the repository.
    """

    repository: str
    kind: Literal["model", "dataset"] = "model"
    revision: str = NEWEST
    file: str = ""

    def __str__(self) -> str:
        kind = "datasets/" if self.kind == "dataset" else ""
        revision = f"@{self.revision}" if self.revision != NEWEST else ""
        return f"hf://{kind}{self.repository}{revision}" + (f"/{self.file}" if self.file else "")


def is_hub(name: object) -> bool:
    """Return whether a name is an address on the Hub; a path may have lost one of its slashes.

    Example:
        >>> is_hub("hf://user/name"), is_hub(Path("hf://user/name")), is_hub("book.txt")
        (True, True, False)
    """
    return isinstance(name, str | PurePath) and PurePath(name).parts[:1] == ("hf:",)


def parse_address(name: Text) -> Address:
    """Read hf://USER/NAME[@REVISION] or hf://datasets/USER/NAME[@REVISION], with /FILE if it names a file.

    Raises:
        HubError: It is another kind of address, or has characters that no name on the Hub has.

    Example:
        >>> parse_address("hf://datasets/ann/letters@v1/a.txt")
        Address(repository='ann/letters', kind='dataset', revision='v1', file='a.txt')
    """
    words = PurePath(name).as_posix().removeprefix("hf:").lstrip("/")
    found = _ADDRESS.fullmatch(words)
    kind, repository, revision, file = found.groups(default="") if found else ("", "", "", "")
    revision = revision.replace("%2F", "/") or NEWEST
    names_fit = all(map(_NAME.fullmatch, repository.split("/"))) and not re.search(r"--|\.\.|\.git$", repository)
    if not names_fit or not _REVISION.fullmatch(revision) or ".." in revision:
        raise HubError(
            f"'hf://{words}' is no address on the Hub; write hf://USER/NAME or hf://datasets/USER/NAME, with @REVISION "
            f"if needed, of letters, digits, - _ and ."
        )
    if not file.isprintable() or "\\" in file or {"", ".", ".."} & set(file.split("/") if file else ["file"]):
        raise HubError(f"'{file}' is no name of a file on the Hub; write it as the Hub shows it, without .. and \\")
    return Address(repository, "dataset" if kind == "datasets" else "model", revision, file)


@contextmanager
def hub(what: object) -> Iterator[Any]:
    """Provide huggingface_hub, and put what it raises into one sentence.

    Args:
        what: What is read or written, for the message.

    Raises:
        MissingExtraError: It is not installed.
        HubError: It has failed.
    """
    try:
        library = import_quietly("huggingface_hub")
        for part in ("constants", "errors", "file_download"):
            import_quietly(f"huggingface_hub.{part}")
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"{error.name} is not installed; pip install 'nextchar[hub]'") from None
    # Those of the HTTP client are a base of the Hub's; others are mistakes of ours.
    known = (OSError, ValueError, RuntimeError, library.errors.EntryNotFoundError)
    try:
        yield library
    except NextcharError:
        raise
    except (*known, *library.errors.HfHubHTTPError.__bases__) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the disk
            raise
        raise HubError(f"{what}: {_explain(error, library)}") from error


def _explain(error: BaseException, library: Any) -> str:
    """Return what has happened and what to do."""
    if isinstance(error, RuntimeError):  # of an upload
        error = error.__cause__ or error
    said = next((words for kind, words in REASONS.items() if isinstance(error, getattr(library.errors, kind))), "")
    if not said and isinstance(error, ValueError):  # such as a licence that is unknown there
        said = "the Hub refuses it: " + " ".join(str(error).split())[:300].replace("{", "{{").replace("}", "}}")
    if not said and isinstance(error, library.errors.HfHubHTTPError):
        status = error.response.status_code
        said = RIGHTS.get(status, f"the Hub answered {status}; try again later")
    if not said and type(error).__name__.startswith("Connect"):
        said = "{server} cannot be reached; check the connection (what is in the cache works without one)"
    return (said or "the transfer broke off; try again").format(server=library.constants.ENDPOINT, login=LOGIN)


def fetch(address: Address, limit: float = float("inf")) -> Path:
    """Return the path of a file in the cache; download it if it is not there, or has changed on the Hub.

    Args:
        address: Of the file.
        limit: The most bytes that it may have.

    Raises:
        HubError: It cannot be downloaded, or is larger; without a network, it is not in the cache.
        MissingExtraError: huggingface_hub is not installed.
    """
    where: dict[str, Any] = {"repo_type": address.kind, "revision": address.revision}
    with hub(address) as library:
        try:
            url = library.hf_hub_url(address.repository, address.file, **where)
            size = library.get_hf_file_metadata(url, library_name="nextchar").size
        except Exception as error:  # noqa: BLE001  as in hub(); above all, there is no network
            try:
                return Path(library.hf_hub_download(address.repository, address.file, local_files_only=True, **where))
            except library.errors.LocalEntryNotFoundError:
                raise error from None
        if size is not None and size > limit:
            raise HubError(f"{address} has {size:,} bytes, and at most {limit:,} are read; name another")
        return Path(library.hf_hub_download(address.repository, address.file, library_name="nextchar", **where))


def fetch_model(name: Text, file: str) -> Path:
    """Return the path in the cache of a model on the Hub.

    Args:
        name: Its address.
        file: The only file that is read.

    Raises:
        HubError: It cannot be fetched, is too large, or the address names something else.
        MissingExtraError: huggingface_hub is not installed.
    """
    address = parse_address(name)
    if address.kind != "model" or address.file not in ("", file):
        raise HubError(f"{address} is no model; of a repository only {file} is read, so write hf://USER/NAME")
    return fetch(replace(address, file=file), LARGEST_MODEL)


def model_address(name: Text, path: Path) -> str:
    """Return the address of a model that was fetched, with the hash of its commit."""
    return str(replace(parse_address(name), revision=path.parent.name, file=""))


def fetch_texts(name: Text) -> tuple[Address, list[tuple[Path, str]]]:
    """Fetch the text that an address names: its file, or all .txt files of the repository, plain or compressed.

    Returns:
        The address with the hash of the commit; and each file, with its own address as its name.

    Raises:
        HubError: There is none, or it cannot be fetched.
        MissingExtraError: huggingface_hub is not installed.
    """
    address = parse_address(name)
    named, address = address.file, replace(address, file="")
    found = []
    for file in [named] if named else _text_files(address):
        path = fetch(replace(address, file=file))
        address = replace(address, revision=path.parents[file.count("/")].name)  # the next one is of the same commit
        found.append((path, str(replace(address, file=file))))
    return replace(address, file=named), found


def _text_files(address: Address) -> list[str]:
    """List the texts of a repository: those on the Hub, or without a network those in the cache."""
    where = {"revision": address.revision, "repo_type": address.kind}
    with hub(address) as library:
        try:
            files = [each.rfilename for each in library.HfApi().repo_info(address.repository, **where).siblings or ()]
        except Exception as error:  # noqa: BLE001  as in hub()
            try:
                folder = library.snapshot_download(address.repository, local_files_only=True, **where)
            except library.errors.LocalEntryNotFoundError:
                raise error from None
            files = [path.relative_to(folder).as_posix() for path in Path(folder).rglob("*.txt*")]
    texts = sorted(file for file in files if file.endswith(ENDINGS))
    if not texts:
        listed = ", ".join(sorted(files)[:LISTED]) + (" ..." if len(files) > LISTED else "")
        other = "" if address.kind == "dataset" else "; a data set is named hf://datasets/USER/NAME"
        raise HubError(f"{address} holds no .txt file, but {listed or 'nothing'}; name a file, {address}/FILE{other}")
    return texts
