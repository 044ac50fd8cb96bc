"""PPO in one file, with the Hadamard representation in its last hidden layer (arXiv 2406.09079, appendix D, Table 5).

A template to copy and modify. It uses only the public encoders and functions. The GAE advantage is the lambda-return
minus the value.

    python examples/ppo_single_file.py --game breakout --frames 40_000_000
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import tyro
from ale_py.vector_env import AtariVectorEnv
from torch import Tensor, nn
from torch.distributions import Categorical

from hadamax import ENCODERS, build_encoder
from hadamax.functional import lambda_returns, linear


@dataclass(frozen=True)
class Settings:
    game: str = "pong"
    """Name of a ROM in ale-py."""
    frames: int = 40_000_000
    """Emulator frames, four per step."""
    activation: str = "tanh"
    """Activation of the last hidden layer."""
    branches: int = 2
    """Branches of the last hidden layer; 1 is an ordinary layer."""
    num_envs: int = 8
    num_steps: int = 128
    num_epochs: int = 4
    num_minibatches: int = 4
    learning_rate: float = 2.5e-4
    max_grad_norm: float = 0.5
    gamma: float = 0.99
    gae_lambda: float = 0.95
    clip: float = 0.1
    entropy_weight: float = 0.01
    value_weight: float = 0.5
    seed: int = 1


class ActorCritic(nn.Module):
    """[B, 4, 84, 84] -> distribution over actions, and values [B]."""

    def __init__(self, num_actions: int, activation: str, branches: int) -> None:
        super().__init__()
        spec = replace(ENCODERS["nature"], conv_initialiser="orthogonal", dense_initialiser="orthogonal")
        self.encoder = build_encoder(spec, activation=activation, branches=branches, layers="last")
        self.actor, self.critic = (nn.Linear(self.encoder.features, outputs) for outputs in (num_actions, 1))
        for layer, gain in ((self.actor, 0.01), (self.critic, 1.0)):
            nn.init.orthogonal_(layer.weight, gain)
            nn.init.zeros_(layer.bias)

    def forward(self, observations: Tensor) -> tuple[Categorical, Tensor]:
        features = self.encoder(observations)
        return Categorical(logits=self.actor(features)), self.critic(features).squeeze(1)


def main(s: Settings) -> ActorCritic:
    torch.manual_seed(s.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    envs = AtariVectorEnv(s.game, s.num_envs, reward_clipping=False, autoreset_mode="SameStep")
    network = ActorCritic(int(envs.single_action_space.n), s.activation, s.branches).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=s.learning_rate, eps=1e-5)

    shape = (s.num_steps, s.num_envs)
    observations = torch.zeros((*shape, 4, 84, 84), dtype=torch.uint8, device=device)
    actions = torch.zeros(shape, dtype=torch.int64, device=device)
    log_probs, rewards, values, next_values = (torch.zeros(shape, device=device) for _ in range(4))
    terminated, truncated = (torch.zeros(shape, dtype=torch.bool, device=device) for _ in range(2))
    to_device = lambda array: torch.from_numpy(np.ascontiguousarray(array)).to(device)  # noqa: E731
    returns, finished = np.zeros(s.num_envs), []

    observation = to_device(envs.reset(seed=s.seed)[0])
    iterations = max(s.frames // (4 * s.num_envs * s.num_steps), 1)
    for iteration in range(iterations):
        # Collect
        with torch.no_grad():
            policy, value = network(observation)
            for t in range(s.num_steps):
                observations[t], values[t] = observation, value
                actions[t] = policy.sample()
                log_probs[t] = policy.log_prob(actions[t])
                frame, reward, over, cut, info = envs.step(actions[t].cpu().numpy())
                rewards[t], terminated[t], truncated[t] = to_device(reward.clip(-1, 1)), to_device(over), to_device(cut)
                observation = to_device(frame)
                policy, value = network(observation)
                next_values[t] = value
                if cut.any():  # time limit: bootstrap from the final observation of the episode
                    next_values[t, truncated[t]] = network(to_device(info["final_obs"][cut]))[1]
                returns += reward
                finished += returns[over | cut].tolist()
                returns[over | cut] = 0

        # Targets
        targets = lambda_returns(rewards, next_values, terminated, truncated, gamma=s.gamma, lambda_=s.gae_lambda)

        # Update
        optimizer.param_groups[0]["lr"] = linear(s.learning_rate, 0.0, iteration / iterations)
        rows = [x.flatten(0, 1) for x in (observations, actions, log_probs, values, targets)]
        for _ in range(s.num_epochs):
            for batch in torch.randperm(targets.numel(), device=device).chunk(s.num_minibatches):
                seen, chosen, old_log_prob, old_value, target = (row[batch] for row in rows)
                policy, value = network(seen)
                advantage = target - old_value
                advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
                ratio = (policy.log_prob(chosen) - old_log_prob).exp()
                gain = torch.minimum(ratio * advantage, ratio.clamp(1 - s.clip, 1 + s.clip) * advantage).mean()
                clipped = old_value + (value - old_value).clamp(-s.clip, s.clip)
                value_loss = 0.5 * torch.maximum((value - target).square(), (clipped - target).square()).mean()
                loss = -gain + s.value_weight * value_loss - s.entropy_weight * policy.entropy().mean()
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(network.parameters(), s.max_grad_norm)
                optimizer.step()

        score = np.mean(finished[-100:]) if finished else float("nan")
        print(f"frames {(iteration + 1) * 4 * targets.numel():,}  loss {loss:.4f}  mean of 100 games {score:.1f}")
    return network


if __name__ == "__main__":
    main(tyro.cli(Settings))
