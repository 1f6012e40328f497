from pathlib import Path

import pytest
from pydantic import ValidationError

from preference.errors import SettingsError
from preference.settings import Settings, variables

SECRETS = {"LABEL_STUDIO_API_KEY": "key-5ecret", "BASIC_AUTH_PASS": "pass-5ecret", "WEBHOOK_SECRET": "hook-5ecret"}


def refusal(environ: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ(environ)
    return str(caught.value)


def test_an_empty_environment_gives_the_defaults() -> None:
    settings = Settings.from_environ({})
    assert settings.studio.url == "http://localhost:8080"
    assert settings.model_dir == Path("pairloop-models")
    assert (settings.server.port, settings.server.workers, settings.training.recipe, settings.training.train_schedule) == (
        9090,
        1,
        "frozen",
        "0 3 * * *",
    )


def test_without_an_argument_the_environment_of_the_process_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "9191")
    assert Settings.from_environ().server.port == 9191
    assert Settings.from_environ({}).server.port == 9090


def test_every_field_is_read_from_the_variable_of_its_name_in_capitals() -> None:
    values = {
        "label_studio_url": "https://studio.example",
        "label_studio_api_key": "k",
        "label_studio_api_key_file": "/run/secrets/key",
        "label_studio_public_url": "https://studio.example/pages",
        "model_dir": "/models",
        "host": "0.0.0.0",
        "port": "1",
        "backend_url": "http://backend:9",
        "workers": "2",
        "threads": "3",
        "basic_auth_user": "u",
        "basic_auth_pass": "p",
        "webhook_secret": "w",
        "log_level": "DEBUG",
        "log_format": "json",
        "device": "cuda:1",
        "torch_threads": "4",
        "generator_engine": "echo",
        "generator_model": "org/model",
        "system_prompt": "Be kind.",
        "max_new_tokens": "5",
        "enable_thinking": "False",
        "max_thinking_tokens": "3",
        "max_prompt_tokens": "16",
        "temperature": "1.5",
        "top_k": "6",
        "top_p": "0.5",
        "stop": '["###", "\\n\\nHuman:"]',
        "annotator_names": "False",
        "seed": "7",
        "dtype": "bfloat16",
        "batch_prompts": "8",
        "max_similarity": "0.75",
        "max_resamples": "9",
        "whole_answers": "False",
        "keep_thinking": "True",
        "num_candidates": "4",
        "pair_strategy": "diverse",
        "duel_percent": "5.0",
        "duel_with": "openai:gpt-4o-mini",
        "openai_base_url": "http://model:8000/v1",
        "openai_api_key": "o",
        "openai_endpoint": "completions",
        "openai_concurrency": "12",
        "openai_model_dir": "/mnt/models",
        "storing_connections": "5",
        "new_prompts_a_person": "6",
        "repeats": "0.05",
        "predict_seconds": "20.0",
        "fill_every_seconds": "0.5",
        "suggest": "none",
        "suggest_from": "0.75",
        "show_rewards": "False",
        "control_percent": "12.5",
        "order": "random",
        "suggest_held_out": "False",
        "certified_predictions": "True",
        "recipe": "lora",
        "reward_base": "/base",
        "reward_model": "/judge",
        "ties": "drop",
        "prefer_ground_truth": "True",
        "judgements_where": "clarity=Clear; relevance>=3",
        "slice_by": "topic, source.kind",
        "annotator_weights": "ann@example.org:.5, 7:0",
        "judge_weight": "0.25",
        "align_minutes": "45.0",
        "align_schedule": "0 4 * * *",
        "align_min_new_pairs": "120",
        "features_mb": "12",
        "keep_versions": "5",
        "reward_dtype": "bfloat16",
        "report_to": "tensorboard",
        "train_schedule": "30m",
        "look_every_seconds": "0.25",
        "min_new_pairs": "10",
        "min_pairs": "11",
        "holdout_fraction": "0.5",
    }
    read = {"stop": ["###", "\n\nHuman:"]}  # as a list, from JSON
    settings = Settings.from_environ({name.upper(): value for name, value in values.items()})
    for variable in variables():
        value, name = settings.value_of(variable), variable.name.lower()
        value = value.get_secret_value() if hasattr(value, "get_secret_value") else value
        assert (list(value) if name == "stop" else str(value)) == read.get(name, values[name]), name
    assert len(values) == len(variables())


def test_an_empty_or_blank_variable_counts_as_unset_and_white_space_round_a_value_is_dropped() -> None:
    settings = Settings.from_environ({"PORT": "", "WORKERS": "  ", "SEED": " 3\n", "BASIC_AUTH_USER": "", "BASIC_AUTH_PASS": " "})
    assert (settings.server.port, settings.server.workers, settings.seed, settings.server.basic_auth_user) == (9090, 1, 3, "")


def test_label_studio_host_is_read_if_label_studio_url_is_not_set() -> None:
    assert Settings.from_environ({"LABEL_STUDIO_HOST": "http://old:1"}).studio.url == "http://old:1"
    both = {"LABEL_STUDIO_HOST": "http://old:1", "LABEL_STUDIO_URL": "http://new:2"}
    assert Settings.from_environ(both).studio.url == "http://new:2"


def test_a_base_in_4_bits_is_for_adapters_alone() -> None:
    sentence = "REWARD_DTYPE=nf4 is for RECIPE=lora; set both, or REWARD_DTYPE=auto"
    for others in ({}, {"RECIPE": "full"}):
        with pytest.raises(SettingsError, match=f"^{sentence}$"):
            Settings.from_environ({"REWARD_DTYPE": "nf4", **others})

    assert Settings.from_environ({"REWARD_DTYPE": "nf4", "RECIPE": "lora"}).training.reward_dtype == "nf4"


def test_links_for_people_lead_to_the_public_address_and_without_one_to_the_other() -> None:
    inside = {"LABEL_STUDIO_URL": "http://label-studio:8080"}
    assert Settings.from_environ(inside).studio.page == "http://label-studio:8080"
    both = Settings.from_environ({**inside, "LABEL_STUDIO_PUBLIC_URL": "https://studio.example/"})
    assert (both.studio.page, both.studio.url) == ("https://studio.example", "http://label-studio:8080")
    guarded = Settings.from_environ({"LABEL_STUDIO_PUBLIC_URL": "https://bob:a@b@studio.example/x@y"})
    assert guarded.studio.page == "https://studio.example/x@y"


def test_all_wrong_variables_are_named_at_once_one_a_line() -> None:
    message = refusal(
        {
            "LABEL_STUDIO_URL": "localhost:8080",
            "PORT": "70000",
            "DEVICE": "tpu",
            "LOG_LEVEL": "info",
            "TRAIN_SCHEDULE": "at dawn",
            "HOLDOUT_FRACTION": "nan",
            "SLICE_BY": "topic,the kind",
            "ANNOTATOR_WEIGHTS": "7:0,ann@example.org:11",
            "BASIC_AUTH_USER": "anna",
        }
    )
    assert message.splitlines() == [
        r"DEVICE='tpu' is wrong: string should match pattern '^(auto|cpu|cuda(:\d+)?|mps)$'",
        "LOG_LEVEL='info' is wrong: input should be 'DEBUG', 'INFO', 'WARNING' or 'ERROR'",
        "LABEL_STUDIO_URL='localhost:8080' is wrong: should start with http:// or https://, and name a host",
        "PORT='70000' is wrong: input should be less than or equal to 65535",
        "TRAIN_SCHEDULE='at dawn' is wrong: should be a cron line such as `0 3 * * *` or an interval such as `30m` (s, m, h, d)",
        "HOLDOUT_FRACTION='nan' is wrong: input should be less than 0.9",
        "SLICE_BY='topic,the kind' is wrong: 'the kind' should be a field of tasks' data, such as topic or source.kind (letters, digits and _)",
        "ANNOTATOR_WEIGHTS='7:0,ann@example.org:11' is wrong: 'ann@example.org:11' should be an annotator's number or e-mail address and a "
        "weight of 0 to 10, such as ann@example.org:.5",
        "BASIC_AUTH_USER and BASIC_AUTH_PASS go together; set both or neither",
    ]


def test_a_wrong_value_is_reported_under_the_variable_that_held_it() -> None:
    assert refusal({"LABEL_STUDIO_HOST": "studio:80"}).startswith("LABEL_STUDIO_HOST='studio:80' is wrong: ")


def test_every_way_to_suggest_goes_with_rewards_and_without() -> None:
    for suggest in ("choice", "scores", "none"):
        settings = Settings.from_environ({"SUGGEST": suggest, "SHOW_REWARDS": "false"})
        assert (settings.suggesting.suggest, settings.suggesting.show_rewards) == (suggest, False)


def test_half_of_the_basic_auth_settings_is_refused() -> None:
    expected = "BASIC_AUTH_USER and BASIC_AUTH_PASS go together; set both or neither"
    assert refusal({"BASIC_AUTH_USER": "anna"}) == expected
    assert refusal({"BASIC_AUTH_PASS": "hush"}) == expected


def test_no_secret_shows_in_the_settings_text_or_in_an_error() -> None:
    text = repr(Settings.from_environ({**SECRETS, "BASIC_AUTH_USER": "anna"}))
    errors = refusal({**SECRETS, "PORT": "x"})  # BASIC_AUTH_USER lacks too
    assert "anna" in text and "****" in text
    assert len(errors.splitlines()) == 2
    for secret in SECRETS.values():
        assert secret not in text
        assert secret not in errors


@pytest.mark.parametrize("address", ["http://", "https:///path", "ftp://host", "host:80"])
def test_an_address_without_a_scheme_or_a_host_is_refused(address: str) -> None:
    assert refusal({"BACKEND_URL": address}).startswith(
        f"BACKEND_URL='{address}' is wrong: should start with http:// or https://"
    )


@pytest.mark.parametrize("schedule", ["0 3 * * *", "*/5 0-6 1,15 * mon-fri", "30m", "1s", "12h", "7d"])
def test_a_cron_line_or_an_interval_is_a_schedule(schedule: str) -> None:
    assert Settings.from_environ({"TRAIN_SCHEDULE": schedule}).training.train_schedule == schedule


@pytest.mark.parametrize("schedule", ["0m", "30", "m", "1w", "0 3 * *", "0 3 * * * *", "-5m"])
def test_anything_else_is_no_schedule(schedule: str) -> None:
    assert refusal({"TRAIN_SCHEDULE": schedule}).startswith(f"TRAIN_SCHEDULE='{schedule}' is wrong: should be a cron line")


def test_the_backends_address_is_host_and_port_unless_a_url_is_given() -> None:
    assert Settings.from_environ({"HOST": "10.0.0.7", "PORT": "9"}).server.address == "http://10.0.0.7:9"
    assert Settings.from_environ({"BACKEND_URL": "https://ml.example/pairloop/"}).server.address == "https://ml.example/pairloop"


def test_torch_gets_at_least_one_thread_and_as_many_as_are_asked_for() -> None:
    assert Settings.from_environ({"TORCH_THREADS": "0"}).num_torch_threads >= 1
    assert Settings.from_environ({"TORCH_THREADS": "5"}).num_torch_threads == 5


def test_settings_do_not_change_and_take_no_unknown_name() -> None:
    settings = Settings.from_environ({})
    with pytest.raises(ValidationError, match="frozen"):
        settings.server.port = 1  # type: ignore[misc]
    with pytest.raises(ValidationError, match="prot"):
        Settings.of(prot=1)


def test_settings_are_made_and_replaced_by_the_names_of_their_variables() -> None:
    made = Settings.of(label_studio_url="http://studio:1/", label_studio_api_key="key-5ecret", seed=3)
    assert made == Settings.from_environ(
        {"LABEL_STUDIO_URL": "http://studio:1", "LABEL_STUDIO_API_KEY": "key-5ecret", "SEED": "3"}
    )
    changed = made.replace(port=9, seed=4)
    assert (changed.server.port, changed.seed, changed.studio) == (9, 4, made.studio)
    assert made == made.replace()


def test_variables_that_have_the_name_of_a_group_are_none_of_ours() -> None:
    assert Settings.from_environ({"STUDIO": "x", "studio": "{", "server": "y", "port": "1", "TRAINING": "[]"}) == Settings()


@pytest.mark.parametrize("value", ["###", '"###"', '{"a": 1}', '["a", 1]', '[""]'])
def test_stop_texts_that_are_no_list_of_texts_are_refused_with_an_example(value: str) -> None:
    expected = f'STOP={value!r} is wrong: should be a JSON list of texts such as ["\\n\\nHuman:"]'
    assert refusal({"STOP": value}) == expected
