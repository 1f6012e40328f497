"""How the double of Label Studio lists tasks: its filters, and what of a task a list shows."""

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


def _matches(task: Fields, item: Fields) -> bool:
    column, value = item["filter"].removeprefix("filter:tasks:"), item["value"]
    if column.startswith("data."):
        held = task["data"].get(column.removeprefix("data."))
    else:
        counted = {"predictions_model_versions": versions(task), "total_predictions": len(task["predictions"])}
        held = counted[column] if column in counted else task[column]
    match item["operator"], item["type"]:
        case "empty", "String":
            is_match = held is None and value == "true"  # "" was empty in one project and not in another
        case "equal", "String" | "Number":
            is_match = held == value
        case ("greater", "Number") | ("greater", "Datetime"):  # times as text of one form, which sorts
            is_match = held > value
        case "in_list", "Number":
            is_match = held in value
        case "not_contains", "List":
            is_match = not any(name in held.split(",") for name in value)
        case operator:
            raise ValueError(f"the double knows no filter {operator}")
    return is_match and ("child_filter" not in item or _matches(task, item["child_filter"]))
