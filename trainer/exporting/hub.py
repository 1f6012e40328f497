"""Folders on the Hugging Face Hub, through its own client, which knows the address (HF_ENDPOINT) and the token (HF_TOKEN, or the one of `hf auth login`).

Covered: a token that is missing, refused or may not write; a repository that is not there, or is public and was to be private; no
network; a Hub that fails. Each is one sentence, without the token.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, errors, utils

from preference.errors import ExportError

Kind = Literal["model", "dataset"]
_KEPT = ".gitattributes"  # which the Hub itself puts into a repository: what of it lies in LFS


def check_access(repository: str) -> None:
    """Asks the Hub who this is, before anything is computed.

    Raises:
        ExportError: nobody, or that is no name of a repository, or the Hub cannot be asked.
    """
    with _in_sentences(repository):
        utils.validate_repo_id(repository)  # type: ignore[attr-defined]  # in its documentation
        HfApi().whoami()


def open_repository(repository: str, *, kind: Kind, is_private: bool) -> str:
    """The address of a repository, which is made if there is none.

    Raises:
        ExportError: the Hub refuses, or cannot be reached, or the repository is public and was to be private.
    """
    with _in_sentences(repository):
        api = HfApi()
        address = str(api.create_repo(repository, repo_type=kind, private=True if is_private else None, exist_ok=True))
        if is_private and not api.repo_info(repository, repo_type=kind).private:
            raise ExportError(
                f"{repository} is there and public, so nothing is sent; make it private on the Hub, or omit --private."
            )
    return address


def upload(folder: Path, repository: str, *, kind: Kind, message: str) -> None:
    """Makes a repository hold a folder's files and no others, in one commit.

    A file of an earlier version would be read beside this one's: shards beside a whole file, say, or a `frozen` version's own folder.

    Raises:
        ExportError: the Hub refuses, or cannot be reached, or somebody else commits meanwhile.
    """
    with _in_sentences(repository):
        api = HfApi()
        commit = api.repo_info(repository, repo_type=kind).sha
        there = api.list_repo_files(repository, repo_type=kind, revision=commit)
        files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
        changes: list[CommitOperationAdd | CommitOperationDelete] = [
            *(CommitOperationAdd(name, path) for name, path in files.items()),
            *(CommitOperationDelete(name) for name in there if name not in files and name != _KEPT),
        ]
        # Not upload_folder, which (huggingface_hub 2.4) makes several commits of a large folder: a kill would leave half of it.
        api.create_commit(repository, changes, commit_message=message, repo_type=kind, parent_commit=commit)


@contextmanager
def _in_sentences(repository: str) -> Iterator[None]:
    try:
        yield
    except errors.HFValidationError:
        raise ExportError(f"{repository!r} is no name of a repository; name one as organization/name.") from None
    except errors.LocalTokenNotFoundError:
        raise ExportError(f"There is no token for the Hub; set HF_TOKEN to one that may write to {repository}.") from None
    except errors.OfflineModeIsEnabled:
        raise ExportError("HF_HUB_OFFLINE is set, so nothing is sent to the Hub; unset it for this command.") from None
    except errors.HfHubHTTPError as error:
        raise ExportError(_refusal(repository, error.response.status_code)) from error
    except RuntimeError as error:  # of huggingface_hub (2.4), for a file that could not be sent, whatever the reason
        raise ExportError(
            f"A file could not be sent to {repository}, so nothing is there that was not before; try again."
        ) from error
    except errors.HTTPError as error:  # type: ignore[attr-defined]  # of httpx, or of httpx2 since huggingface_hub 2
        raise ExportError(
            f"The Hub cannot be reached ({type(error).__name__}); check the network, and HF_ENDPOINT if it is set."
        ) from error


def _refusal(repository: str, status: int) -> str:
    if status == 401:
        return f"The Hub does not accept your token for {repository}; set HF_TOKEN to one that may write there."
    if status == 403:
        return f"Your token may not write to {repository}; take one with write access, or name a repository of your own."
    if status == 412:
        return f"Somebody else changed {repository} meanwhile, so nothing is there that you sent; try again."
    if status == 404:
        return f"The Hub has no {repository}, or hides it from your token; check its name, and whose token HF_TOKEN is."
    return f"The Hub answered {status} for {repository}; try again later."
