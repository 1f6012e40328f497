"""What Label Studio would say of a prediction, by the rules of label-studio-sdk 2.1, which its server shares."""

from typing import Any


def prediction_problems(label_config: str, prediction: dict[str, Any]) -> list[str]:
    """A sentence for each reason why Label Studio would refuse that prediction; none if it takes it.

    Raises:
        ValueError: the SDK cannot read the label config.
    """
    from label_studio_sdk.label_interface.interface import LabelInterface  # most of a second

    try:
        problems: list[str] = LabelInterface(label_config).validate_prediction(prediction, return_errors=True)
    except Exception as error:  # it raises whatever a config that it does not know leads to
        raise ValueError(f"label-studio-sdk cannot read the label config ({type(error).__name__})") from error
    return problems
