"""Pairloop as a model class of label-studio-ml, for those who host models with that package's own server.

    from label_studio_ml.api import init_app
    app = init_app(PreferenceModel)

Release 1.0.9 builds one object per /setup, 2.x (its git line) one per request. So an object here holds nothing. What lives
belongs to the process (serving.process.process_backend), which is built from the environment at the first call.
`pairloop-backend serve` answers the same contract without these servers' limits, and is what you want.
"""

import time
from typing import Any

from label_studio_ml.model import LabelStudioMLBase

from backend.contract.training_limit import ask_for_round
from backend.scoring.predictions import Prediction
from backend.serving.process import process_backend
from preference.projects.folder import ProjectFolder
from preference.settings import Settings


class PreferenceModel(LabelStudioMLBase):  # type: ignore[misc]
    """Suggests the better of two answers."""

    TRAIN_EVENTS = ("START_TRAINING",)

    def setup(self) -> None:
        """Names the served version; only 2.x calls this."""
        if self.project_id and self.label_config:
            self.set("model_version", process_backend().setup(int(self.project_id), self.label_config, host=None))

    def predict(self, tasks: list[dict[str, Any]], context: Any = None, **_: Any) -> list[Prediction | list[Any]]:
        """One entry a task, in order: a prediction, or `[]`."""
        project = getattr(self, "project_id", None) or (tasks[0].get("project") if tasks else None)
        if not project:  # 1.0.9 does not say which project asks; Label Studio writes it into each task
            return [[] for _ in tasks]
        return process_backend().predict(int(project), self.label_config, tasks)

    def fit(self, *_: Any, event: str = "", data: dict[str, Any] | None = None, **__: Any) -> dict[str, str]:
        """Asks the trainer for a round. 1.0.9 runs this in a new process, so nothing heavy may start here."""
        event = event or next((argument for argument in _ if isinstance(argument, str)), "")
        data = data or next((argument for argument in _ if isinstance(argument, dict)), {})
        if event in self.TRAIN_EVENTS:
            ask_for_round(ProjectFolder(Settings.from_environ().model_dir, int(data["project"]["id"])), time.time())
        return {}
