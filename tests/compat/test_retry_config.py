"""`OCCRetryConfig` and `retry=` mean what they mean in the official connector."""

from __future__ import annotations

from typing import Any

import pytest
from dsql_core import occ_retry as theirs
from hypothesis import given
from hypothesis import strategies as st

from dsql_fast import ConfigError
from dsql_fast.compat._retry import OCCRetryConfig, policy_for, policy_of

VALUES: list[dict[str, Any]] = [
    {},
    {"max_retries": 0},
    {"max_retries": 100},
    {"max_retries": 101},
    {"max_retries": -1},
    {"max_retries": 1.0},
    {"max_retries": "3"},
    {"max_retries": None},
    {"base_delay_ms": 0},
    {"base_delay_ms": -1},
    {"base_delay_ms": 0.5},
    {"base_delay_ms": 100},
    {"base_delay_ms": 101},
    {"base_delay_ms": 200, "max_delay_ms": 200},
    {"max_delay_ms": 0},
    {"jitter_factor": 0},
    {"jitter_factor": 1.0},
    {"jitter_factor": 1.01},
    {"jitter_factor": -0.01},
    {"base_delay_ms": float("nan")},
    {"jitter_factor": float("nan")},
]
# They let it through.
STRICTER = [{"base_delay_ms": float("nan")}, {"jitter_factor": float("nan")}]


@pytest.mark.parametrize("values", VALUES, ids=str)
def test_takes_what_theirs_takes(values: dict[str, Any]) -> None:
    try:
        expected: Any = theirs.OCCRetryConfig(**values)
    except ValueError:
        expected = None
    if expected is None or str(values) in map(str, STRICTER):
        with pytest.raises(ValueError) as caught:
            OCCRetryConfig(**values)
        assert isinstance(caught.value, ConfigError)
    else:
        assert vars(OCCRetryConfig(**values)) == vars(expected)


def test_is_a_value() -> None:
    assert OCCRetryConfig(3, 1, 100, 0.25) == OCCRetryConfig()
    assert len({OCCRetryConfig(), OCCRetryConfig(), OCCRetryConfig(2)}) == 2
    with pytest.raises(AttributeError):
        OCCRetryConfig().max_retries = 4  # type: ignore[misc]


configs = st.builds(
    lambda retries, base, more, jitter: (retries, base, base + more, jitter),
    st.integers(0, 100),
    st.integers(1, 10_000),
    st.integers(0, 100_000),
    st.floats(0.0, 1.0),
)


@given(values=configs, attempt=st.integers(1, 101), chance=st.floats(0.0, 1.0, exclude_max=True))
def test_delay_is_by_their_formula(values: tuple[int, int, int, float], attempt: int, chance: float) -> None:
    config = OCCRetryConfig(*values)
    policy = policy_of(config)
    assert policy.max_attempts == config.max_retries + 1
    ours = policy.delay(attempt, lambda: 1.0 - chance)  # turned round: as even as theirs
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(theirs.random, "random", lambda: chance)
        expected = theirs._calculate_backoff(theirs.OCCRetryConfig(*values), attempt) / 1000.0
    assert ours == pytest.approx(expected, rel=1e-12)


CONFIGS = {"mine": OCCRetryConfig(max_retries=7), "other": OCCRetryConfig(max_retries=2)}
CHOICES: list[Any] = [None, False, True, "mine", "other"]


@pytest.mark.parametrize("of_pool", CHOICES)
@pytest.mark.parametrize("of_call", CHOICES)
def test_whose_retry_counts(of_pool: Any, of_call: Any) -> None:
    def as_theirs(choice: Any) -> Any:
        config = CONFIGS.get(choice)
        return choice if config is None else theirs.OCCRetryConfig(max_retries=config.max_retries)

    resolved = theirs.resolve_retry_config(as_theirs(of_pool), as_theirs(of_call))
    attempts = 1 if resolved is None else resolved.max_retries + 1
    policy = policy_for(CONFIGS.get(of_pool, of_pool), CONFIGS.get(of_call, of_call))
    assert policy.max_attempts == attempts


@pytest.mark.parametrize("wrong", [1, "yes", {"max_retries": 3}])
def test_what_is_no_retry_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="retry must be"):
        policy_for(None, wrong)
