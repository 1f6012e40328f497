"""The closing table of the demo: what happened, and what the figures are."""

from collections.abc import Iterator, Mapping

from rich.table import Table

from demo.annotator import choose
from preference.projects.folder import ProjectFolder
from preference.projects.generators import Generators
from preference.report_card.card import ReportCard
from preference.report_card.compared_answers import read_compared
from preference.report_card.generator_card import GeneratorCard

BY_NEW = "by the new generator"  # of `counts`: new tasks that it answered


def summary(
    folder: ProjectFolder, card: ReportCard, learnt: GeneratorCard, *, num_tasks: int, counts: Mapping[str, int],
    seconds: Mapping[str, float],
) -> Table:  # fmt: skip
    """`card`: of the version that is served. `learnt`: of the generator. `seconds`: of each stage."""
    m = card.metrics
    table = Table(title="What happened", show_header=False)
    table.add_row("tasks filled", str(num_tasks))
    table.add_row("judgements", ", ".join(f"{counts[name]} {name}" for name in ("left", "right", "skipped")))
    table.add_row("version served", f"{card.version} ({card.recipe}, {card.num_train_pairs} training pairs)")
    assert m.interval is not None, "this version was promoted, so it was measured"
    interval = f"95 % interval {m.interval[0]:.2f} to {m.interval[1]:.2f}, {card.num_holdout_pairs} held-out pairs"
    table.add_row("held-out accuracy", f"{m.accuracy:.2f} ({interval})")
    table.add_row("baselines", f"longer answer wins {m.longer_wins:.2f}, shorter answer wins {m.shorter_wins:.2f}")
    for name, text in _of_generator(folder, learnt):
        table.add_row(name, text)
    table.add_row("new tasks answered by it", str(counts[BY_NEW]))
    for name, spent in seconds.items():
        table.add_row(f"seconds to {name}", f"{spent:.1f}")
    return table


def _of_generator(folder: ProjectFolder, learnt: GeneratorCard) -> Iterator[tuple[str, str]]:
    """What it reached; the annotator's own rule decides, no reward model."""
    m, verdict = learnt.metrics, "promoted" if learnt.promoted else "kept back"
    yield "generator", f"{learnt.version} {verdict} ({learnt.num_pairs} comparisons, {learnt.num_steps} steps): {learnt.reason}"
    wins = [
        {"left": 1.0, "right": 0.0, None: 0.5}[choose(new, other)]
        for row in read_compared(Generators(folder).path(learnt.version))
        for new, other in zip(row.new, row.other, strict=False)
    ]
    if wins and m.kl is not None and m.answers.repeats is not None and m.other.repeats is not None:
        yield (
            "its wins by the annotator's rule",
            f"{sum(wins) / len(wins):.2f} of {len(wins)}, on {m.num_prompts} held-out prompts",
        )
        yield (
            "its answers",
            (
                f"{m.answers.repeats:.0%} repeat themselves ({m.other.repeats:.0%} before), {m.answers.num_letters:.0f} letters "
                f"({m.other.num_letters:.0f} before), {m.kl:.3f} nats a token from the base"
            ),
        )
