"""What doctor looks at of one project's versions: the served model, what names it, and the predictions that it makes."""

from backend.connecting.task_order import SAMPLING
from backend.doctor.check import Check, CheckFailed
from backend.doctor.project_checks import Examined
from preference.errors import PairloopError
from preference.heavy_imports import lean_imports
from preference.labelling.demonstrations import DemonstrationLayout
from preference.labelling.results import suggestion
from preference.models.device import pick_device
from preference.models.files import check_model_files, check_weights
from preference.projects.folder import ProjectFolder
from preference.projects.versions import SHELF, UNTRAINED, Versions
from preference.settings import Settings
from preference.studio.prediction_validation import prediction_problems

_SOME = 8  # open tasks; fewer may all be of the control group, which waits until others have scores


def _sampling(examined: Examined) -> str:
    order, sampling = examined.installation.settings.suggesting.order, examined.state.get("sampling")
    if sampling != SAMPLING[order]:
        wrong = {"uncertain": "the least certain tasks are not served first", "random": "tasks are not served at random"}[order]
        raise CheckFailed(f"{sampling}, so {wrong}", examined.connect)
    return SAMPLING[order]


def _champion(examined: Examined) -> str:
    folder, installation = examined.folder, examined.installation
    version = Versions(folder).champion()
    if version is None:
        return "none yet: nothing is suggested before the first round of training"
    is_served = installation.health.get("versions", {}).get(str(folder.project_id)) == version
    try:
        if is_served:  # the backend had it score its probe when it loaded it, which takes torch and seconds
            _check_files(Versions(folder), version)
        else:
            _load(folder, version, installation.settings)
    except PairloopError as error:
        others = [other for other in Versions(folder).promotable() if other != version]
        before = Versions(folder).champion_before()
        other = before if before in others else next(reversed(others), None)
        command = f"promote --project {folder.project_id} {other}" if other else f"once --project {folder.project_id}"
        raise CheckFailed(f"{version} cannot be served: {error}", f"pairloop-trainer {command}") from None
    return f"{version} is whole: it scores its probe as its card says"


def _check_files(versions: Versions, version: str) -> None:
    card = versions.card(version)
    if card.recipe == SHELF:  # which keeps no weights
        check_model_files(card.base)
    else:
        check_weights(versions.path(version))


def _load(folder: ProjectFolder, version: str, settings: Settings) -> None:
    with lean_imports():
        from preference.models.pretrained import quiet_transformers
        from preference.reward_model.extractors import Extractors
        from preference.reward_model.probe import load_version

    quiet_transformers()
    device = pick_device(settings.device)
    extractors = Extractors(settings.model_dir, device, settings.training.reward_dtype)
    load_version(folder, version, extractor=extractors, device=device)


def _versions(examined: Examined) -> str:
    champion = Versions(examined.folder).champion() or UNTRAINED
    named = {
        "the backend": examined.setup_version,
        "the connection's title": examined.links.rows[0].title,
        "the project's model version": examined.state.get("model_version") or "",
    }
    others = [f"{place} is {version!r}" for place, version in named.items() if version != champion]
    if others:
        raise CheckFailed(
            f"the champion is {champion}, but {' and '.join(others)}",
            f"wait while a new champion scores the open tasks; if it stays so: {examined.connect}",
        )
    return f"{champion} everywhere"


def _predictions(examined: Examined) -> str:
    version, project = Versions(examined.folder).champion(), examined.project
    num_open = project.num_open()
    if version is None:
        return f"none yet, {num_open} open tasks"
    num_unscored, layout = project.num_open(unscored_by=version), examined.layout
    num_unanswered = num_unscored if isinstance(layout, DemonstrationLayout) else project.num_unanswered(layout)
    if num_unscored == num_open > num_unanswered and num_open >= _SOME:
        raise CheckFailed(
            f"none of {num_open} open tasks has a prediction by {version}", f"pairloop-backend fill --project {project.id}"
        )
    return f"{num_open - num_unscored} of {num_open} open tasks have one by {version}"


def _format(examined: Examined) -> str:
    suggesting, layout = examined.installation.settings.suggesting, examined.layout
    if isinstance(layout, DemonstrationLayout):
        result = layout.draft("A draft.")
    else:
        task_data = layout.with_answers({}, layout.answered(["an answer", "another"]))
        result = suggestion(layout, task_data, (0.5, -0.5), suggest=suggesting.suggest, show_rewards=suggesting.show_rewards)
    problems = prediction_problems(examined.state["label_config"], {"result": result, "score": 0.73, "model_version": UNTRAINED})
    if problems:
        raise CheckFailed(
            f"Label Studio would refuse a prediction: {'; '.join(problems)}",
            "compare the label config with Pairloop's label_config.xml: names and toName of its tags",
        )
    return "Label Studio's validation takes a prediction"


VERSION_CHECKS: tuple[Check[Examined], ...] = (
    Check("sampling", _sampling, needs=["rights"]),
    Check("champion", _champion, needs=["MODEL_DIR", "device"]),
    Check("versions", _versions, needs=["shared MODEL_DIR", "champion"]),
    Check("predictions", _predictions, needs=["label config"]),
    Check("prediction format", _format, needs=["label config"]),
)
