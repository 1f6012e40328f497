"""What the dashboard's buttons do: Train now, Fill now, Promote, Roll back. same_origin.py and signatures.py say for whom."""

import time

from pydantic import ValidationError
from werkzeug.exceptions import HTTPException

from backend.contract.request_bodies import ButtonBody
from backend.contract.training_limit import ask_for_round, too_often
from backend.dashboard.signatures import Seen
from preference.errors import ChampionChanged, RegistryError
from preference.projects.folder import ProjectFolder
from preference.projects.generators import Generators, of_name
from preference.projects.problems import read_problems
from preference.projects.trainer_heartbeat import is_alive
from preference.settings import Settings

_REASON = "on the dashboard"  # for the log of promotions


def press(body: ButtonBody, settings: Settings, *, seen: Seen) -> str:
    """What the button did, as a sentence. `seen`: what the page showed.

    Raises:
        TooManyRequests: rounds were asked for too often.
        RegistryError: MODEL_DIR is full or not writable.
    """
    folder = ProjectFolder(settings.model_dir, body.project)
    if body.button == "train":
        return _train(folder, settings)
    if body.button == "fill":
        folder.request("fill")
        if not settings.studio.has_key:
            return "Asked for, but LABEL_STUDIO_API_KEY is not set, so this backend fills nothing."
        return "Asked for: the filler looks for tasks without answers now."
    return _serve(body, folder, seen)


def _serve(body: ButtonBody, folder: ProjectFolder, seen: Seen) -> str:
    """Promotes a version or rolls back, unless another one is served than the page showed."""
    versions = of_name(folder, body.version)
    was_seen = seen.generator if isinstance(versions, Generators) else seen.champion
    nothing = f"Nothing was {'promoted' if body.button == 'promote' else 'rolled back'}:"
    try:
        if body.button == "promote":
            versions.promote(body.version, by="hand", reason=_REASON, seen=was_seen)
            return f"{body.version} is the {versions.title}; {versions.taken_up}."
        before = versions.rollback(reason=_REASON, seen=was_seen)
        return f"{before} is the {versions.title} again; {versions.taken_up}."
    except ChampionChanged:
        return f"{nothing} the {versions.title} has changed since the page was loaded. Look again."
    except RegistryError as error:
        return f"{nothing} {error}"
    except OSError as error:
        return f"{nothing} {error.filename} cannot be read ({error.strerror})."
    except (ValueError, TypeError, KeyError, RecursionError):
        return f"{nothing} the log of promotions is damaged; use pairloop-trainer promote."


def refusal(error: HTTPException | ValidationError | RegistryError) -> tuple[str, int]:
    """Why a button did nothing, and the status that says so."""
    if isinstance(error, HTTPException):
        return error.description or error.name, error.code or 500
    if isinstance(error, RegistryError):
        return str(error), 503
    return "That is no form of this page; press the button here.", 400


def _train(folder: ProjectFolder, settings: Settings) -> str:
    if wait_seconds := ask_for_round(folder, time.time()):
        raise too_often(wait_seconds)
    if not is_alive(settings.model_dir):
        return "Asked for, but no trainer is running: start pairloop-trainer run, and the round begins."
    if noted := read_problems(settings.model_dir, of=["trainer"]).get(folder.project_id):
        return f"Asked for, but the trainer cannot take that yet: {noted[0]}"
    return "Asked for: the trainer begins a round within seconds, or after the one that is running."
