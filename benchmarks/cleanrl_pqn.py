"""PQN with the structure and settings of CleanRL's pqn_atari_envpool.py, on our environments, for comparison."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from cleanrl_forms import GAMMA, MAPS, Turn, convolutions, step
from torch import nn

from hadamax.environments import VectorEnvironment


def pqn(environment: VectorEnvironment, *, num_steps: int, epochs: int, minibatches: int, epsilon: float) -> Turn:
    """Return a function that collects a rollout of all environments and updates from it."""
    head = [nn.Linear(MAPS, 512), nn.LayerNorm(512), nn.ReLU(), nn.Linear(512, environment.num_actions)]
    network = nn.Sequential(*convolutions(normal=True), *head)
    optimizer = torch.optim.RAdam(network.parameters(), lr=2.5e-4)
    shape = (num_steps, environment.num_envs)
    stored = torch.zeros(*shape, *environment.observation_shape)
    actions, rewards, dones, values = (torch.zeros(shape) for _ in range(4))
    observations, over = torch.Tensor(environment.reset()), torch.zeros(environment.num_envs)

    def turn() -> None:
        nonlocal observations, over
        for t in range(num_steps):
            stored[t], dones[t] = observations, over
            anything = torch.randint(environment.num_actions, shape[1:])
            with torch.no_grad():
                values[t], best = network(observations / 255.0).max(dim=1)
            actions[t] = torch.where(torch.rand(shape[1:]) < epsilon, anything, best)
            later, reward, ended = step(environment, actions[t].long().numpy())
            rewards[t] = torch.from_numpy(reward)
            observations, over = torch.Tensor(later), torch.Tensor(ended)
        returns = torch.zeros(shape)
        with torch.no_grad():
            last = network(observations / 255.0).max(dim=1).values
        for t in reversed(range(num_steps)):
            if t == num_steps - 1:
                returns[t] = rewards[t] + GAMMA * last * (1 - over)
            else:
                mix = 0.65 * returns[t + 1] + 0.35 * values[t + 1]
                returns[t] = rewards[t] + GAMMA * mix * (1 - dones[t + 1])
        rows, order = stored.flatten(0, 1), np.arange(returns.numel())
        for _ in range(epochs):
            np.random.shuffle(order)
            for part in np.split(order, minibatches):
                found = network(rows[part] / 255.0).gather(1, actions.flatten()[part].long()[:, None]).squeeze(1)
                loss = F.mse_loss(returns.flatten()[part], found)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(network.parameters(), 10.0)
                optimizer.step()

    return turn
