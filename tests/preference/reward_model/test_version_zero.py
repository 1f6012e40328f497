"""A reward model of others as a project's first version: what it scores, and when a project takes it up."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from preference.errors import ModelError, VersionRefused
from preference.labelling.prompts import Prompt, Turn, messages, turns_of
from preference.models.pretrained import load_tokenizer, load_weights
from preference.models.reward_bases import closing_of
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from preference.reward_model.extractors import Extractors
from preference.reward_model.model import Description, RewardModel, SequenceRewardModel, ShelfRewardModel, load_saved
from preference.reward_model.probe import load_version
from preference.reward_model.version_zero import load_from_shelf, publish_version_zero
from preference.setting_groups import TrainingSettings
from tests.support.hub_cache import hub_cache
from tests.support.tiny_bases import CHAT_TEMPLATE, save_tiny_reward_model
from tests.support.tolerance import REWARDS, assert_close
from tests.support.versions import publish_version

CPU = torch.device("cpu")
TALK = (Turn("user", "Is it cold?"), Turn("assistant", "No."), Turn("user", "Why?"))
EXCHANGES: list[tuple[Prompt, str]] = [
    ("Why?", "Because."),
    ("Why?", "The cat sat on the mat and looked at the moon. " * 9),
    (TALK, " People prefer the answer that helps them."),
    ("def add(a, b):", "    return a + b\n\n"),
]
CLOSED_BY_EOS = CHAT_TEMPLATE.replace("<|im_end|>\n{% endfor %}", "<|im_end|>{% endfor %}")
Folder = ProjectFolder


@pytest.fixture
def folder(tmp_path: Path) -> ProjectFolder:
    folder = ProjectFolder(tmp_path / "models", 1)
    folder.create()
    return folder


@pytest.fixture
def extractors(tmp_path: Path) -> Extractors:
    return Extractors(tmp_path / "models", CPU)


def as_its_card_says(model: str, prompt: Prompt, answer: str) -> float:
    """The reward by the code of such a model's card: transformers alone, one text at a time."""
    network = AutoModelForSequenceClassification.from_pretrained(model, num_labels=1, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(model)
    conversation = [*messages(turns_of(prompt)), {"role": "assistant", "content": answer}]
    inputs: Any = tokenizer.apply_chat_template(conversation, tokenize=True, return_tensors="pt", return_dict=True)
    with torch.no_grad():
        return float(network(inputs["input_ids"]).logits[0][0])


def scored(model: RewardModel) -> torch.Tensor:
    return model.score([prompt for prompt, _ in EXCHANGES], [answer for _, answer in EXCHANGES])


# What it scores


@pytest.mark.parametrize("closing", [CHAT_TEMPLATE, CLOSED_BY_EOS], ids=["closed by a line break", "closed by its end token"])
@pytest.mark.parametrize("padding", ["its own", "its end token", "none"])
def test_rewards_are_those_of_its_model_card(tmp_path: Path, extractors: Extractors, closing: str, padding: str) -> None:
    shelf = save_tiny_reward_model(tmp_path / "shelf", chat_template=closing)
    config = json.loads((shelf / "config.json").read_text())
    pad = {"its own": config["pad_token_id"], "its end token": config["eos_token_id"], "none": None}[padding]
    (shelf / "config.json").write_text(json.dumps({**config, "pad_token_id": pad}))

    rewards = scored(load_from_shelf(str(shelf), extractors))

    expected = [as_its_card_says(str(shelf), *exchange) for exchange in EXCHANGES]
    assert_close(rewards, expected, within=REWARDS)
    assert float(rewards.std()) > 0.1


@pytest.mark.parametrize(("kind", "head"), [("qwen3", "score"), ("gemma2", "score"), ("modernbert", "classifier")])
def test_rewards_are_those_of_its_model_card_whatever_its_architecture(
    tmp_path: Path, tiny_reward_model: Path, extractors: Extractors, kind: str, head: str
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_reward_model)
    config = AutoConfig.for_model(
        kind, vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, num_labels=1, pad_token_id=tokenizer.pad_token_id, max_position_embeddings=512,
        cls_token_id=0, sep_token_id=1, bos_token_id=0, eos_token_id=1, sliding_window=64,
    )  # fmt: skip
    torch.manual_seed(0)
    network = AutoModelForSequenceClassification.from_config(config)
    torch.nn.init.normal_(network.get_submodule(head).weight, std=2)
    network.save_pretrained(tmp_path / kind)
    tokenizer.save_pretrained(tmp_path / kind)

    rewards = scored(load_from_shelf(str(tmp_path / kind), extractors))

    assert_close(rewards, [as_its_card_says(str(tmp_path / kind), *each) for each in EXCHANGES], within=REWARDS)


def test_in_bfloat16_it_takes_half_the_memory_and_says_nearly_the_same(tiny_reward_model: Path, extractors: Extractors) -> None:
    halved = load_from_shelf(str(tiny_reward_model), extractors, dtype="bfloat16")
    whole = load_from_shelf(str(tiny_reward_model), extractors)

    assert (halved.description.dtype, whole.description.dtype) == ("bfloat16", "float32")
    assert next(halved.network.base_model.parameters()).dtype == torch.bfloat16
    rewards = scored(whole)
    assert_close(scored(halved), rewards, within=0.1 * float(rewards.std()))


def test_a_text_that_is_longer_than_the_model_reads_is_cut(
    tmp_path: Path, tiny_reward_model: Path, extractors: Extractors
) -> None:
    model = load_from_shelf(str(tiny_reward_model), extractors)
    assert model.description.max_tokens == 2048  # of its config
    assert model.score(["Why? " * 2000], ["Because. " * 2000]).isfinite().all()


def test_a_version_that_was_trained_here_scores_as_it_did(
    tmp_path: Path, tiny_reward_model: Path, extractors: Extractors
) -> None:
    """A `full` one, whose answers are closed otherwise than by its chat template, and whose rewards are scaled."""
    network = load_weights(AutoModelForSequenceClassification, str(tiny_reward_model), dtype=torch.float32)
    description = Description("sequence", "a base", 64, center=1.5, scale=2.0, temperature=0.7)
    (tmp_path / "full").mkdir()
    SequenceRewardModel(description, network, load_tokenizer(str(tiny_reward_model))).save(tmp_path / "full")
    expected = load_saved(tmp_path / "full", extractor=extractors, device=CPU)

    shelf = load_from_shelf(str(tmp_path / "full"), extractors)

    assert_close(scored(shelf), scored(expected), within=REWARDS)
    assert shelf.confidence(1.0, 0.0) == expected.confidence(1.0, 0.0)
    shelf.save(tmp_path)
    assert_close(scored(load_saved(tmp_path, extractor=extractors, device=CPU)), scored(expected), within=REWARDS)
    assert closing_of(str(tmp_path / "full"), shelf.tokenizer) == "eos", "what is trained on it reads the same tokens"


# When a project takes it up


def test_a_project_without_a_champion_gets_it_as_version_0(
    folder: ProjectFolder, tiny_reward_model: Path, extractors: Extractors
) -> None:
    version = publish_version_zero(folder, TrainingSettings(reward_model=str(tiny_reward_model)), extractors)

    versions = Versions(folder)
    assert version is not None and version.startswith("v0-")
    assert (versions.champion(), versions.all(), versions.find("v0")) == (version, [version], version)
    card = versions.card(version)
    assert (card.recipe, card.base, card.num_train_pairs, card.unreadable) == ("shelf", str(tiny_reward_model), 0, ())
    assert card.reason == f"REWARD_MODEL={tiny_reward_model}, before any version that was trained here"
    assert card.suggest_from is None  # nobody has judged it yet
    assert sum(path.stat().st_size for path in versions.path(version).iterdir()) < 10_000  # no weights
    loaded = load_version(folder, version, extractor=Extractors(folder.path.parent.parent, CPU), device=CPU)
    assert_close(scored(loaded), [as_its_card_says(str(tiny_reward_model), *each) for each in EXCHANGES], within=REWARDS)
    assert loaded.confidence(1.0, 0.0) == pytest.approx(torch.tensor(1.0).sigmoid().item())  # temperature 1

    assert publish_version_zero(folder, TrainingSettings(reward_model=str(tiny_reward_model)), extractors) is None
    assert versions.all() == [version]


def test_what_is_trained_here_is_version_1_and_is_rolled_back_to_version_0(
    folder: ProjectFolder, tiny_base: Path, tiny_reward_model: Path, extractors: Extractors
) -> None:
    first, versions = (
        publish_version_zero(folder, TrainingSettings(reward_model=str(tiny_reward_model)), extractors),
        Versions(folder),
    )
    trained = publish_version(folder, tiny_base, weight=1)
    versions.promote(trained)

    assert trained.startswith("v1-")
    assert publish_version_zero(folder, TrainingSettings(reward_model=str(tiny_reward_model)), extractors) is None
    assert versions.rollback() == versions.champion() == first


def test_a_champion_that_was_trained_here_stays(
    folder: ProjectFolder, tiny_base: Path, tiny_reward_model: Path, extractors: Extractors
) -> None:
    trained = publish_version(folder, tiny_base, weight=1)
    Versions(folder).promote(trained)

    assert publish_version_zero(folder, TrainingSettings(reward_model=str(tiny_reward_model)), extractors) is None
    assert Versions(folder).all() == [trained]


def test_another_reward_model_takes_its_place_once_and_a_rollback_stays(
    folder: ProjectFolder, tmp_path: Path, tiny_reward_model: Path, extractors: Extractors
) -> None:
    first = publish_version_zero(folder, TrainingSettings(reward_model=str(tiny_reward_model)), extractors)
    other = str(save_tiny_reward_model(tmp_path / "other", scale=20))

    second = publish_version_zero(folder, TrainingSettings(reward_model=other), extractors)

    assert second is not None and second.startswith("v1-") and Versions(folder).champion() == second
    assert Versions(folder).rollback() == first
    assert publish_version_zero(folder, TrainingSettings(reward_model=other), extractors) is None
    assert Versions(folder).champion() == first


def test_it_is_there_again_after_the_pointer_was_deleted(
    folder: ProjectFolder, tiny_reward_model: Path, extractors: Extractors
) -> None:
    version = publish_version_zero(folder, TrainingSettings(reward_model=str(tiny_reward_model)), extractors)
    (folder.path / "champion").unlink()

    assert publish_version_zero(folder, TrainingSettings(reward_model=str(tiny_reward_model)), extractors) == version
    assert (Versions(folder).champion(), Versions(folder).all()) == (version, [version])


def test_nothing_is_written_while_model_dir_is_away(
    folder: ProjectFolder, tiny_reward_model: Path, extractors: Extractors
) -> None:
    away = folder.path.parent.parent
    shutil.move(away, away.with_name("elsewhere"))

    assert publish_version_zero(folder, TrainingSettings(reward_model=str(tiny_reward_model)), extractors) is None
    assert not away.exists()


def test_two_projects_share_one_copy(tmp_path: Path, tiny_reward_model: Path, extractors: Extractors) -> None:
    models = []
    for number in (1, 2):
        folder = ProjectFolder(tmp_path / "models", number)
        folder.create()
        version = publish_version_zero(folder, TrainingSettings(reward_model=str(tiny_reward_model)), extractors)
        model = load_version(folder, version or "", extractor=extractors, device=CPU)
        assert isinstance(model, ShelfRewardModel)
        models.append(model)
    assert models[0].network is models[1].network


def test_an_id_keeps_its_commit_when_it_moves_on(
    folder: ProjectFolder, tmp_path: Path, tiny_reward_model: Path, extractors: Extractors, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = hub_cache(tmp_path / "hub", monkeypatch)
    commit = hub.move_on(tiny_reward_model)
    version = publish_version_zero(folder, TrainingSettings(reward_model=hub.name), extractors)
    hub.move_on(save_tiny_reward_model(tmp_path / "newer", scale=20))

    loaded = load_version(folder, version or "", extractor=Extractors(tmp_path / "models", CPU), device=CPU)

    assert loaded.description.revision == commit
    assert_close(scored(loaded), [as_its_card_says(str(tiny_reward_model), *each) for each in EXCHANGES], within=REWARDS)


# What is refused


def test_files_that_were_replaced_are_refused(folder: ProjectFolder, tmp_path: Path, extractors: Extractors) -> None:
    shelf = save_tiny_reward_model(tmp_path / "shelf")
    version = publish_version_zero(folder, TrainingSettings(reward_model=str(shelf)), extractors)
    save_tiny_reward_model(shelf, scale=20)

    with pytest.raises(VersionRefused, match=r"its card says .*; put back the model '.*shelf' as it was"):
        load_version(folder, version or "", extractor=Extractors(tmp_path / "models", CPU), device=CPU)


def without_template(folder: Path) -> str:
    return str(save_tiny_reward_model(folder, chat_template=None))


def of_two_labels(folder: Path) -> str:
    return str(save_tiny_reward_model(folder, num_labels=2))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (of_two_labels, "gives an answer 2 numbers, and a reward model gives one; name a sequence classifier with one label."),
        (without_template, "has no chat template, so nobody can say which text it reads; name one that has."),
        (lambda folder: "/nowhere/judge", "cannot be loaded ("),
        (lambda folder: "embedded", "REWARD_MODEL=embedded writes text; name a reward model."),
    ],
    ids=["two labels", "no template", "not there", "embedded"],
)
def test_what_is_no_reward_model_is_said_in_a_sentence(
    folder: ProjectFolder, extractors: Extractors, tmp_path: Path, make: Callable[[Path], str], sentence: str
) -> None:
    with pytest.raises(ModelError) as raised:
        publish_version_zero(folder, TrainingSettings(reward_model=make(tmp_path / "shelf")), extractors)
    assert sentence in str(raised.value)
    assert Versions(folder).champion() is None


def test_a_model_that_writes_text_has_no_score_head(folder: ProjectFolder, extractors: Extractors, tiny_chat_base: Path) -> None:
    with pytest.raises(ModelError) as raised:
        publish_version_zero(folder, TrainingSettings(reward_model=str(tiny_chat_base)), extractors)
    assert str(raised.value) == (
        f"The model '{tiny_chat_base}' has no score head: it is a LlamaForCausalLM; "
        "name a sequence classifier with one label, or train one on this as REWARD_BASE."
    )
