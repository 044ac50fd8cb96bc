"""PQN in one file: parallelised Q-learning without a replay buffer or target network (arXiv 2407.04811, HR Table 6).

A template to copy and modify. It uses only the public encoders and functions. `hadamax train pqn` is the same algorithm
with checkpoints, exact resume, evaluation, life losses and the papers' full protocol.

    python examples/pqn_single_file.py --game breakout --frames 40_000_000
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import tyro
from ale_py.vector_env import AtariVectorEnv
from torch import nn

from hadamax import build_encoder
from hadamax.functional import epsilon_greedy, lambda_returns, linear
from hadamax.networks import QNetwork


@dataclass(frozen=True)
class Settings:
    game: str = "pong"
    """Name of a ROM in ale-py."""
    encoder: str = "hadamax"
    """A name in hadamax.ENCODERS."""
    frames: int = 40_000_000
    """Emulator frames, four per step."""
    num_envs: int = 128
    num_steps: int = 32
    num_epochs: int = 2
    num_minibatches: int = 32
    learning_rate: float = 2.5e-4
    max_grad_norm: float = 10.0
    gamma: float = 0.99
    q_lambda: float = 0.65
    epsilon_end: float = 0.001
    epsilon_decay: float = 0.1
    """Fraction of the training over which epsilon decays from 1."""
    seed: int = 1


def main(s: Settings) -> QNetwork:
    torch.manual_seed(s.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    envs = AtariVectorEnv(s.game, s.num_envs, reward_clipping=False, autoreset_mode="SameStep")
    network = QNetwork(build_encoder(s.encoder), int(envs.single_action_space.n)).to(device)
    network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.RAdam(network.parameters(), lr=s.learning_rate)

    shape = (s.num_steps, s.num_envs)
    observations = torch.zeros((*shape, 4, 84, 84), dtype=torch.uint8, device=device)
    actions = torch.zeros(shape, dtype=torch.int64, device=device)
    rewards, next_values = torch.zeros(shape, device=device), torch.zeros(shape, device=device)
    terminated, truncated = (torch.zeros(shape, dtype=torch.bool, device=device) for _ in range(2))
    to_device = lambda array: torch.from_numpy(np.ascontiguousarray(array)).to(device)  # noqa: E731
    returns, finished = np.zeros(s.num_envs), []

    observation = to_device(envs.reset(seed=s.seed)[0])
    iterations = max(s.frames // (4 * s.num_envs * s.num_steps), 1)
    for iteration in range(iterations):
        # Collect
        epsilon = linear(1.0, s.epsilon_end, iteration / (s.epsilon_decay * iterations))
        with torch.no_grad():
            q = network(observation)  # [env, action]
            for t in range(s.num_steps):
                observations[t] = observation
                actions[t] = epsilon_greedy(q, torch.full((s.num_envs,), epsilon, device=device))
                frame, reward, over, cut, info = envs.step(actions[t].cpu().numpy())
                rewards[t], terminated[t], truncated[t] = to_device(reward.clip(-1, 1)), to_device(over), to_device(cut)
                observation = to_device(frame)
                q = network(observation)
                next_values[t] = q.amax(1)
                if cut.any():  # time limit: bootstrap from the final observation of the episode
                    next_values[t, truncated[t]] = network(to_device(info["final_obs"][cut])).amax(1)
                returns += reward
                finished += returns[over | cut].tolist()
                returns[over | cut] = 0

        # Targets
        targets = lambda_returns(rewards, next_values, terminated, truncated, gamma=s.gamma, lambda_=s.q_lambda)

        # Update
        optimizer.param_groups[0]["lr"] = linear(s.learning_rate, 0.0, iteration / iterations)
        rows = observations.flatten(0, 1), actions.flatten(), targets.flatten()
        for _ in range(s.num_epochs):
            for batch in torch.randperm(targets.numel(), device=device).chunk(s.num_minibatches):
                seen, chosen, target = (row[batch] for row in rows)
                loss = 0.5 * (network(seen).gather(1, chosen[:, None]).squeeze(1) - target).square().mean()
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(network.parameters(), s.max_grad_norm)
                optimizer.step()

        score = np.mean(finished[-100:]) if finished else float("nan")
        print(f"frames {(iteration + 1) * 4 * targets.numel():,}  loss {loss:.4f}  mean of 100 games {score:.1f}")
    return network


if __name__ == "__main__":
    main(tyro.cli(Settings))
