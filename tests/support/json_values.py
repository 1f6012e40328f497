"""Any JSON, and tasks that hold it, for hypothesis."""

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tests.support.nightly import IS_NIGHTLY

# What Label Studio itself keeps: no NaN, no halves of emojis.
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12) | st.sampled_from(
    ["pairloop", "pairloop_new_answers", "left", "new_answers", "refused", "2026-11-29T12:00:00Z", "[1, 2]", "9" * 5000]
)
NUMBERS = st.integers() | st.sampled_from([0, -1, 2**63, 10**30, 10**400]) | st.floats(allow_nan=False, allow_infinity=False)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
DATA = JSON | st.fixed_dictionaries({"prompt": JSON, "answer1": JSON, "answer2": JSON}, optional={"more": JSON})
META = JSON | st.fixed_dictionaries(
    {}, optional={"pairloop": JSON, "pairloop_new_answers": JSON, "pairloop_suspect": JSON, "more": JSON}
)
_NAMES = st.sampled_from(["comparison", "verdict", "strength", "better_answer", "reward1"]) | JSON
_KINDS = st.sampled_from(["pairwise", "choices", "rating", "textarea", "number"]) | JSON
_HELD = JSON | st.fixed_dictionaries({}, optional=dict.fromkeys(("selected", "choices", "rating", "text", "number"), JSON))
_REGION = st.fixed_dictionaries({"from_name": _NAMES, "type": _KINDS, "value": _HELD})
RESULT = JSON | st.lists(_REGION | JSON, max_size=4)
ROUNDS = 500 if IS_NIGHTLY else 15
# The fixtures are shared by all examples, each of which has a project of its own.
FUZZED = settings(
    max_examples=ROUNDS, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
