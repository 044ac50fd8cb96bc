"""Double DQN on Atari with TorchRL's components and the Hadamax encoder: this library adds one import and one module.

pip install '.[torchrl]'  # in the clone
python examples/torchrl_dqn.py --env ALE/Breakout-v5 --frames 10_000_000
"""

from __future__ import annotations

from dataclasses import dataclass

import ale_py
import gymnasium
import torch
import tyro
from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation
from tensordict.nn import TensorDictSequential
from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer
from torchrl.envs import GymWrapper
from torchrl.envs.utils import step_mdp
from torchrl.modules import EGreedyModule, QValueActor
from torchrl.objectives import DQNLoss, HardUpdate

from hadamax.integrations.torchrl import HadamaxModule  # from this library

gymnasium.register_envs(ale_py)


@dataclass(frozen=True)
class Settings:
    env: str = "ALE/Pong-v5"
    """Gymnasium id of an Atari game."""
    encoder: str = "hadamax"
    """A name in hadamax.ENCODERS."""
    frames: int = 10_000_000
    """Emulator frames, four per step."""
    buffer_size: int = 100_000
    """Transitions kept; each takes 56 KB."""
    learning_starts: int = 20_000
    """Steps before the first update."""
    batch: int = 32
    seed: int = 1


def main(s: Settings) -> list[float]:
    torch.manual_seed(s.seed)
    atari = AtariPreprocessing(gymnasium.make(s.env, frameskip=1, repeat_action_probability=0.0))
    env = GymWrapper(FrameStackObservation(atari, 4))
    env.set_seed(s.seed)
    actions = env.action_spec
    network = HadamaxModule(s.encoder, num_actions=actions.space.n, in_key="observation")  # from this library
    actor = QValueActor(network, spec=actions)
    explore = EGreedyModule(actions, eps_init=1.0, eps_end=0.01, annealing_num_steps=max(s.frames // 40, 1))
    player = TensorDictSequential(actor, explore)
    loss_module = DQNLoss(actor, double_dqn=True)
    loss_module.make_value_estimator(gamma=0.99)
    target = HardUpdate(loss_module, value_network_update_interval=1000)
    optimizer = torch.optim.Adam(loss_module.parameters(), lr=1e-4)
    replay = TensorDictReplayBuffer(storage=LazyTensorStorage(s.buffer_size), batch_size=s.batch)
    losses, last = [], env.reset()
    for seen in range(4, s.frames // 4 + 1, 4):  # agent steps
        played = env.rollout(4, player, tensordict=last, auto_reset=False, break_when_any_done=False)
        last = env.maybe_reset(step_mdp(played[-1]))
        explore.step(4)
        replay.extend(played)
        if seen < max(s.learning_starts, s.batch):
            continue
        loss = loss_module(replay.sample())["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        target.step()
        losses.append(loss.item())
        if len(losses) % 1000 == 1:
            print(f"frames {4 * seen:,}  loss {loss.item():.4f}")
    return losses


if __name__ == "__main__":
    main(tyro.cli(Settings))
