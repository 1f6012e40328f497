"""The judgements of a project as a data set of the Hub: a Parquet file for each split, and a card."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import DatasetCardData

from preference.errors import ExportError
from preference.labelling.controls.criteria import applying
from preference.labelling.label_config import LabelingLayout
from preference.labelling.layouts import layout_of
from preference.projects.answer_sides import check_sides
from preference.projects.folder import ProjectFolder
from preference.projects.guidelines import Guidelines
from preference.settings import Settings
from preference.studio.project import LabelStudioProject
from trainer.classifiers.folder_card import rendered
from trainer.exporting.export import judgement_rows
from trainer.exporting.export_rows import Row
from trainer.exporting.row_files import write_rows
from trainer.rounds.reading_context import ReadingContext

_SPLITS = ("train", "holdout", "unused")
_TEMPLATE = Path(__file__).parent / "templates" / "dataset.md.jinja"
_PERSONS = ("annotator_id",)  # who judged what is nobody's business but the project's


def pairs_to_share(project: LabelStudioProject, folder: ProjectFolder, settings: Settings) -> list[Row]:
    """The rows of `export --format trl`, without who judged.

    Raises:
        ExportError: there are none, or the project compares nothing.
        LayoutError: the label config does not fit, or turns earlier judgements round.
        StudioError: Label Studio does not answer, or refuses.
    """
    layout = layout_of(project.read()["label_config"])
    if not isinstance(layout, LabelingLayout):
        raise ExportError(f"Project {project.id} compares no answers, so it has no pairs; omit --pairs.")
    context, training = ReadingContext(project, folder, settings), settings.training
    check_sides(layout, context.cards)
    rows, _ = judgement_rows(
        project.annotated_tasks(), format_name="trl", layout=layout, guidelines=Guidelines.read(folder),
        holdout=context.served_holdout,
        prefer_ground_truth=training.prefer_ground_truth, where=applying(training.judgements_where, layout.criteria),
    )  # fmt: skip
    return [{name: value for name, value in row.items() if name not in _PERSONS} for row in rows]


def write_dataset(rows: Sequence[Row], folder: Path, *, project_id: int, name: str) -> None:
    """Writes the files of a data set into an existing folder. `name`: its id on the Hub.

    Raises:
        ExportError: they cannot be written.
    """
    counts = Counter(str(row["split"]) for row in rows)
    files = [{"split": split, "path": f"{split}.parquet"} for split in _SPLITS if counts[split]]
    for file in files:
        write_rows([row for row in rows if row["split"] == file["split"]], folder / file["path"])
    metadata = DatasetCardData(
        pretty_name=f"Preferences of Label Studio project {project_id}",
        tags=["preference", "reward-modeling", "dpo", "label-studio", "pairloop"],
        task_categories=["text-generation"],
        configs=[{"config_name": "default", "data_files": files}],
    ).to_yaml()
    text = rendered(_TEMPLATE, metadata=metadata, project_id=project_id, counts=counts, name=name)
    (folder / "README.md").write_text(text, encoding="utf-8")
