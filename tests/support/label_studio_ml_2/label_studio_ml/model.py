"""The base class: one object for each request, and texts that outlive it, by project."""

from typing import Any

KEPT: dict[tuple[str, str], str] = {}


class LabelStudioMLBase:
    """Calls `setup` at the end of its making."""

    TRAIN_EVENTS = ("ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATION_DELETED", "START_TRAINING")

    def __init__(self, project_id: str | None = None, label_config: str | None = None) -> None:
        self.project_id = project_id or ""
        if label_config is not None:
            self.set("label_config", label_config)
        if not self.get("model_version"):
            self.set("model_version", "0.0.1")
        self.setup()

    @property
    def label_config(self) -> str | None:
        """What the last request of this project brought."""
        return self.get("label_config")

    def setup(self) -> None:
        """For its heirs."""

    def get(self, key: str) -> str | None:
        """None if nothing was kept."""
        return KEPT.get((self.project_id, key))

    def set(self, key: str, value: Any) -> None:
        """Raises ValueError at what is no text."""
        if not isinstance(value, str):
            raise ValueError(f"{key} is no text: {value!r}")
        KEPT[self.project_id, key] = value
