"""How the dashboard reads MODEL_DIR: what is damaged or missing is a sentence on the page, and no error."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from preference.errors import RegistryError
from preference.report_card.shares import Share

_T = TypeVar("_T")


@dataclass(frozen=True)
class ComparedShare:
    """One row of a comparison: what, its share, and with which mark it is drawn."""

    name: str
    share: Share
    look: str


def tried(problems: list[str], read: Callable[[], _T], otherwise: _T) -> _T:
    """What is read; if something in MODEL_DIR is damaged or missing, `otherwise`, and one sentence says so."""
    try:
        return read()
    except RegistryError as error:
        problems.append(str(error))
    except OSError as error:
        problems.append(f"{error.filename} cannot be read ({error.strerror}).")
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError) as error:
        problems.append(f"Something in MODEL_DIR is not what it should be ({type(error).__name__}).")
    return otherwise
