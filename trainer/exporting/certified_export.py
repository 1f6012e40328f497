"""The machine's labels of open tasks that a certificate covers, as a file. No row is a person's, and each says whose it is."""

from collections import Counter
from pathlib import Path

from preference.errors import ExportError
from trainer.certifying.covered_tasks import CoveredTasks
from trainer.exporting.export import Exported, counted, split_of
from trainer.exporting.export_rows import Row, answer_cell, prompt_cell
from trainer.exporting.row_files import write_rows


def export_certified(covered: CoveredTasks, path: Path, *, conversational: bool = False) -> Exported:
    """Writes a row for each covered task: the columns of `trl`, and `source`, `version`, `confidence`, `certificate`, `agreement`.

    `split`: as `judgement_rows` has it. `agreement` is how often people choose the side of such rows at least, together and by the
    certificate.

    Raises:
        ExportError: the path cannot be written, or no task is covered.
    """
    excluded = Counter({"not sure enough": covered.num_others} if covered.num_others else {})
    certificate = covered.certificate
    rows: list[Row] = [
        {
            "prompt": prompt_cell(pair.prompt, conversational=conversational),
            "chosen": answer_cell(pair.chosen, conversational=conversational),
            "rejected": answer_cell(pair.rejected, conversational=conversational),
            "source": "model",
            "version": certificate.version,
            "confidence": round(confidence, 4),
            "certificate": certificate.name,
            "agreement": certificate.target,
            "task_id": pair.task_id or 0,
            "split": split_of(pair.question, covered.holds_out),
        }
        for pair, confidence in zip(covered.pairs, covered.confidence, strict=True)
    ]
    if not rows:
        raise ExportError(f"{certificate.name} covers none of the {covered.num_others} open tasks; fill more tasks first.")
    write_rows(rows, path)
    return counted(rows, excluded)
