"""How the double of Label Studio lists tasks: its filters, and what of a task a list shows."""

import json
import re
from collections.abc import Sequence
from typing import Any

Fields = dict[str, Any]


def matching(tasks: Sequence[Fields], filters: Fields) -> list[Fields]:
    """The tasks that pass.

    Raises:
        ValueError: it knows no such filter.
    """
    every, items = {"and": all, "or": any}[filters["conjunction"]], filters["items"]
    if items[0]["operator"] == "in_list":  # asked most often, so not of every task
        tasks = [task for task in tasks if task["id"] in items[0]["value"]]
    return [task for task in tasks if every(_matches(task, item) for item in items)]


def cut(task: Fields, names: list[str]) -> Fields:
    """Those fields of a task, and those fields of its annotations; predictions stay whole."""
    task = {key: task[key] for key in names if key in task}
    if "annotations" in task:
        task["annotations"] = [{key: made[key] for key in names if key in made} for made in task["annotations"]]
    return task


def versions(task: Fields) -> str:
    return ",".join(dict.fromkeys(prediction["model_version"] for prediction in task["predictions"]))


def inside(data: Any, keys: Sequence[str]) -> tuple[bool, Any]:
    """Whether something lies there, as Django goes down into JSON, and what."""
    for key in keys:
        if isinstance(data, list) and key.isdecimal() and int(key) < len(data):
            data = data[int(key)]
        elif isinstance(data, dict) and key in data:
            data = data[key]
        else:
            return False, None
    return True, data


def _matches(task: Fields, item: Fields) -> bool:
    column, value = item["filter"].removeprefix("filter:tasks:"), item["value"]
    is_there = True
    if column.startswith("data."):
        is_there, held = inside(task["data"], column.removeprefix("data.").split("__"))
    else:
        counted = {"predictions_model_versions": versions(task), "total_predictions": len(task["predictions"])}
        held = counted[column] if column in counted else task[column]
    match item["operator"], item["type"]:
        case "empty", "String":
            is_match = held is None and value == "true"  # "" was empty in one project and not in another
        case "empty", "List":
            is_match = not is_there
        case "regex", "String":
            text = held if isinstance(held, str) else json.dumps(held)
            is_match = held is not None and re.search(value, text) is not None
        case "equal", "Number":
            is_match = held == value
        case ("greater", "Number") | ("greater", "Datetime"):  # times as text of one form, which sorts
            is_match = held > value
        case "less", "Number":
            is_match = held < value
        case "in_list", "Number":
            is_match = held in value
        case "not_contains", "List":
            is_match = not any(name in held.split(",") for name in value)
        case operator:
            raise ValueError(f"the double knows no filter {operator}")
    return is_match and ("child_filter" not in item or _matches(task, item["child_filter"]))
