"""C51 and Rainbow with the structure and settings of CleanRL's scripts, on our environments, for comparison.

No library has these in plain PyTorch, so this is what a researcher would copy: c51_atari.py and rainbow_atari.py of
https://github.com/vwxyzjn/cleanrl, reimplemented. As in those scripts, whole stacks are stored in Stable-Baselines3's
buffer (or numpy arrays, for priorities), and observations are float32 tensors. Two parts are faster than there: the
emulator, which is ours, and Rainbow's noise, which is factorised as in the paper.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from gymnasium.spaces import Box, Discrete
from torch import Tensor, nn

from hadamax.environments import VectorEnvironment

Turn = Callable[[], None]
GAMMA, ATOMS, LOW, HIGH, BATCH = 0.99, 51, -10.0, 10.0, 32
MAPS = 3136  # outputs of the convolutions for 84x84


def convolutions(normal: bool = False) -> list[nn.Module]:
    """Build Nature's convolutions, optionally each with a norm over its map."""
    layers: list[nn.Module] = []
    for sizes, shape in (
        ((4, 32, 8, 4), (32, 20, 20)),
        ((32, 64, 4, 2), (64, 9, 9)),
        ((64, 64, 3, 1), (64, 7, 7)),
    ):
        layers += [nn.Conv2d(*sizes), *([nn.LayerNorm(shape)] if normal else []), nn.ReLU()]
    return [*layers, nn.Flatten()]


def project(masses: Tensor, rewards: Tensor, gamma: float, dones: Tensor, support: Tensor) -> Tensor:
    """Project the target distribution, row by row."""
    spacing = (HIGH - LOW) / (ATOMS - 1)
    positions = ((rewards + gamma * support * (1 - dones)).clamp(LOW, HIGH) - LOW) / spacing
    low, high = positions.floor().clamp(0, ATOMS - 1), positions.ceil().clamp(0, ATOMS - 1)
    down, up = (high + (low == high).float() - positions) * masses, (positions - low) * masses
    target = torch.zeros_like(masses)
    for i in range(len(target)):
        target[i].index_add_(0, low[i].long(), down[i])
        target[i].index_add_(0, high[i].long(), up[i])
    return target


class CategoricalNetwork(nn.Module):
    """Network of C51."""

    def __init__(self, actions: int) -> None:
        super().__init__()
        self.register_buffer("support", torch.linspace(LOW, HIGH, ATOMS))
        head = [nn.Linear(MAPS, 512), nn.ReLU(), nn.Linear(512, actions * ATOMS)]
        self.network = nn.Sequential(*convolutions(), *head)

    def forward(self, observations: Tensor) -> Tensor:
        """Probabilities [B, action, atom]."""
        return self.network(observations / 255.0).view(len(observations), -1, ATOMS).softmax(dim=2)


class NoisyLinear(nn.Module):
    """Noisy linear layer; computes w + sigma * noise at each call."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.weight_sigma = nn.Parameter(torch.full((outputs, inputs), 0.5 / inputs**0.5))
        self.bias_sigma = nn.Parameter(torch.full((outputs,), 0.5 / outputs**0.5))
        self.register_buffer("weight_noise", torch.zeros(outputs, inputs))
        self.register_buffer("bias_noise", torch.zeros(outputs))
        self.reset_noise()

    def reset_noise(self) -> None:
        rows, columns = (x.sign() * x.abs().sqrt() for x in map(torch.randn, self.weight_noise.shape))
        self.weight_noise.copy_(rows.outer(columns))
        self.bias_noise.copy_(rows)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.linear.weight + self.weight_sigma * self.weight_noise
        return F.linear(x, weight, self.linear.bias + self.bias_sigma * self.bias_noise)


class RainbowNetwork(nn.Module):
    """Noisy, dueling, distributional network of Rainbow."""

    def __init__(self, actions: int) -> None:
        super().__init__()
        self.register_buffer("support", torch.linspace(LOW, HIGH, ATOMS))
        self.network = nn.Sequential(*convolutions())
        self.value, self.advantage = (
            nn.Sequential(NoisyLinear(MAPS, 512), nn.ReLU(), NoisyLinear(512, number * ATOMS))
            for number in (1, actions)
        )

    def reset_noise(self) -> None:
        for layer in self.modules():
            if isinstance(layer, NoisyLinear):
                layer.reset_noise()

    def forward(self, observations: Tensor) -> Tensor:
        """Probabilities [B, action, atom]."""
        flat = self.network(observations / 255.0)
        value, advantage = self.value(flat).view(-1, 1, ATOMS), self.advantage(flat).view(len(flat), -1, ATOMS)
        return (value + advantage - advantage.mean(dim=1, keepdim=True)).softmax(dim=2)


def step(environment: VectorEnvironment, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Step and return (observations, clipped rewards, dones), each [env, ...]."""
    found = environment.step(actions)
    return found.observations, found.rewards.clip(-1, 1), found.terminated | found.truncated


def c51(environment: VectorEnvironment, steps: int, *, starts: int, size: int, every: int, epsilon: float) -> Turn:
    """Return a function that runs `steps` steps of one environment with C51."""
    from stable_baselines3.common.buffers import ReplayBuffer

    network = CategoricalNetwork(environment.num_actions)
    target = copy.deepcopy(network)
    optimizer = torch.optim.Adam(network.parameters(), lr=2.5e-4, eps=0.01 / BATCH)
    space = Box(0, 255, environment.observation_shape, np.uint8)
    options = {"optimize_memory_usage": True, "handle_timeout_termination": False}
    buffer = ReplayBuffer(size, space, Discrete(environment.num_actions), "cpu", **options)
    generator = np.random.default_rng(0)
    observations, done_steps = environment.reset().copy(), 0

    def update() -> None:
        data = buffer.sample(BATCH)
        rows = range(BATCH)
        with torch.no_grad():
            following = target(data.next_observations.float())
            best = (following * target.support).sum(2).argmax(1)
            aims = project(following[rows, best], data.rewards, GAMMA, data.dones.float(), target.support)
        found = network(data.observations.float())[rows, data.actions.flatten()]
        loss = -(aims * found.clamp(1e-5, 1 - 1e-5).log()).sum(-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def turn() -> None:
        nonlocal observations, done_steps
        for _ in range(steps):
            if generator.random() < epsilon:
                actions = generator.integers(environment.num_actions, size=1)
            else:
                with torch.no_grad():
                    masses = network(torch.Tensor(observations))
                    actions = (masses * network.support).sum(2).argmax(1).numpy()
            later, rewards, dones = step(environment, actions)
            buffer.add(observations, later, actions, rewards, dones, [{}])
            observations, done_steps = later.copy(), done_steps + 1
            if done_steps > starts and done_steps % every == 0:
                update()

    return turn


class SegmentTree:
    """Sum tree, updated and searched one index at a time."""

    def __init__(self, size: int) -> None:
        self.size, self.tree = size, np.zeros(2 * size - 1, np.float32)

    def update(self, index: int, value: float) -> None:
        node = index + self.size - 1
        self.tree[node] = value
        while node:
            node = (node - 1) // 2
            self.tree[node] = self.tree[2 * node + 1] + self.tree[2 * node + 2]

    def retrieve(self, mass: float) -> int:
        node = 0
        while 2 * node + 1 < len(self.tree):
            node = 2 * node + 1
            if mass > self.tree[node]:
                mass -= self.tree[node]
                node += 1
        return node - self.size + 1


class PrioritisedBuffer:
    """Prioritised n-step replay buffer that stores whole stacks."""

    def __init__(self, size: int, shape: tuple[int, ...], n_step: int) -> None:
        self.now, self.later = np.zeros((size, *shape), np.uint8), np.zeros((size, *shape), np.uint8)
        self.actions, self.rewards = np.zeros(size, np.int64), np.zeros(size, np.float32)
        self.dones = np.zeros(size, np.float32)
        self.tree, self.number, self.most = SegmentTree(size), 0, 1.0
        self.waiting: deque[Any] = deque(maxlen=n_step)

    def add(self, now: np.ndarray, action: int, reward: float, later: np.ndarray, done: bool) -> None:
        self.waiting.append((now, action, reward, later, done))
        if len(self.waiting) == self.waiting.maxlen:
            total = 0.0
            for power, (_, _, one, _, over) in enumerate(self.waiting):
                total += GAMMA**power * one
                if over:
                    break
            *_, last, over = self.waiting[power]
            slot = self.number % len(self.now)
            self.now[slot], self.actions[slot] = self.waiting[0][0], self.waiting[0][1]
            self.rewards[slot], self.later[slot], self.dones[slot] = total, last, over
            self.tree.update(slot, self.most**0.5)
            self.number += 1
        if done:
            self.waiting.clear()

    def sample(self) -> tuple[list[int], Tensor]:
        part = self.tree.tree[0] / BATCH
        slots = [self.tree.retrieve(np.random.uniform(part * i, part * (i + 1))) for i in range(BATCH)]
        shares = self.tree.tree[np.array(slots) + self.tree.size - 1] / self.tree.tree[0]
        weights = (min(self.number, len(self.now)) * shares) ** -0.4
        return slots, torch.from_numpy(weights / weights.max())

    def prioritise(self, slots: list[int], errors: np.ndarray) -> None:
        errors = np.abs(errors) + 1e-6
        self.most = max(self.most, errors.max())
        for slot, error in zip(slots, errors, strict=True):
            self.tree.update(slot, error**0.5)


def rainbow(environment: VectorEnvironment, steps: int, *, starts: int, size: int, every: int) -> Turn:
    """Return a function that runs `steps` steps of one environment with Rainbow."""
    network = RainbowNetwork(environment.num_actions)
    target = copy.deepcopy(network)
    optimizer = torch.optim.Adam(network.parameters(), lr=6.25e-5, eps=1.5e-4)
    buffer = PrioritisedBuffer(size, environment.observation_shape, n_step=3)
    observations, done_steps = environment.reset().copy(), 0

    def update() -> None:
        network.reset_noise()
        target.reset_noise()
        slots, weights = buffer.sample()
        now, later = (torch.from_numpy(stacks[slots]).float() for stacks in (buffer.now, buffer.later))
        rewards, dones = (torch.from_numpy(column[slots])[:, None] for column in (buffer.rewards, buffer.dones))
        rows = range(BATCH)
        with torch.no_grad():
            best = (network(later) * network.support).sum(2).argmax(1)
            aims = project(target(later)[rows, best], rewards, GAMMA**3, dones, target.support)
        found = network(now)[rows, torch.from_numpy(buffer.actions[slots])]
        losses = -(aims * found.clamp(1e-5, 1 - 1e-5).log()).sum(1)
        loss = (losses * weights).mean()
        buffer.prioritise(slots, losses.detach().numpy())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def turn() -> None:
        nonlocal observations, done_steps
        for _ in range(steps):
            with torch.no_grad():
                actions = (network(torch.Tensor(observations)) * network.support).sum(2).argmax(1).numpy()
            later, rewards, dones = step(environment, actions)
            buffer.add(observations[0], actions[0], rewards[0], later[0], dones[0])
            observations, done_steps = later.copy(), done_steps + 1
            if done_steps > starts and done_steps % every == 0:
                update()

    return turn
