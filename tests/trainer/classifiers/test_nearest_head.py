"""The head that comes nearest to rewards, whatever constant lies between."""

import numpy as np

from trainer.classifiers.nearest_head import nearest_head

SIZE = 12


def test_rewards_that_are_linear_in_the_states_are_found_but_for_their_constant() -> None:
    drawn = np.random.default_rng(0)
    states, weight = drawn.normal(3, [0.1] * 6 + [10] * 6, (400, SIZE)), drawn.normal(size=SIZE) / ([0.1] * 6 + [10] * 6)
    rewards = states @ weight + 5
    prompts = [f"Prompt {i // 2}?" for i in range(400)]

    found = nearest_head(states, rewards, prompts).double().numpy()

    differences = states @ found - rewards
    assert differences.std() < 0.05 * rewards.std()


def test_noise_gets_small_weights_and_one_prompt_is_enough() -> None:
    drawn = np.random.default_rng(1)
    states, noise = drawn.normal(size=(60, SIZE)), drawn.normal(size=60)

    of_noise = nearest_head(states, noise, [f"Prompt {i}?" for i in range(60)])
    of_one_prompt = nearest_head(states, states[:, 0], ["Why?"] * 60)

    assert float(of_noise.norm()) < 0.4
    assert of_one_prompt.argmax() == 0
