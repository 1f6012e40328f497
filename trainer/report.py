"""The model card that people read: README.md of a version, in the Hugging Face form."""

from huggingface_hub import ModelCardData
from jinja2 import Environment, StrictUndefined

from preference.backbone import title
from preference.registry import ModelCard

_TEMPLATE = """\
---
{{ metadata }}
---

# Reward model of Label Studio project {{ card.project_id }}

Scores an answer to a prompt; higher is what this project's annotators prefer. Trained by Pairloop with the
`{{ card.recipe }}` recipe on {{ base }}, from {{ card.num_train_pairs }} judgements; judged on
{{ card.num_holdout_pairs }} judgements of prompts that no version has trained on.

| on the held-out judgements | accuracy |
|---|---|
| this version | {{ "%.3f"|format(m.accuracy) }}{% if m.interval is defined %} (95 % interval {{ "%.3f"|format(m.interval[0]) }} to {{ "%.3f"|format(m.interval[1]) }}){% endif %} |
{%- if m.champion is defined %}
| the champion before it, {{ card.compared_with }} | {{ "%.3f"|format(m.champion) }} |
{%- endif %}
{%- if m.longer_wins is defined %}
| the longer answer wins | {{ "%.3f"|format(m.longer_wins) }} |
| the shorter answer wins | {{ "%.3f"|format(m.shorter_wins) }} |
{%- endif %}

{{ "Promoted" if card.promoted else "Not promoted" }}: {{ card.reason }}.

Left out: {% for reason, count in card.dropped.items() %}{{ count }} {{ reason }}{{ ", " if not loop.last }}{% else %}nothing{% endfor %}.
Rewards are comparable within one version only. Load it with `preference.reward_model.load_reward_model`.
"""


def model_card(card: ModelCard) -> str:
    """The README.md of a version."""
    metadata = ModelCardData(
        library_name="pairloop", tags=["reward-model", "preference", "label-studio"], pipeline_tag="text-classification"
    ).to_yaml()
    template = Environment(undefined=StrictUndefined, autoescape=False).from_string(_TEMPLATE)  # noqa: S701 - Markdown, not HTML
    return template.render(card=card, m=card.metrics, base=title(card.base), metadata=metadata)
