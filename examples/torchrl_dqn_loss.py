"""An encoder in TorchRL: it is a plain torch module, so a TensorDictModule takes it as it is.

pip install 'hadamax[torchrl]'
python examples/torchrl_dqn_loss.py
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import tyro
from tensordict import TensorDict
from tensordict.nn import TensorDictModule, TensorDictSequential
from torchrl.modules import QValueModule
from torchrl.objectives import DQNLoss, SoftUpdate

from hadamax import build_encoder  # ours


@dataclass(frozen=True)
class Settings:
    encoder: str = "hadamax"
    """A name of hadamax.ENCODERS."""
    num_actions: int = 6
    batch: int = 8
    updates: int = 5


def transitions(batch: int, num_actions: int) -> TensorDict:
    """What a replay buffer gives, here at random. After TorchRL's ToTensorImage, give input_scale=1.0 instead."""
    pixels = {"pixels": torch.randint(0, 256, (batch, 4, 84, 84), dtype=torch.uint8)}
    over = torch.zeros(batch, 1, dtype=torch.bool)
    after = {**pixels, "reward": torch.randn(batch, 1), "done": over, "terminated": over}
    return TensorDict({**pixels, "action": torch.randint(num_actions, (batch,)), "next": after}, [batch])


def main(s: Settings) -> list[float]:
    torch.manual_seed(0)
    encoder = build_encoder(s.encoder, observation_shape=(4, 84, 84), input_scale=255.0)  # ours
    actor = TensorDictSequential(
        TensorDictModule(encoder, in_keys=["pixels"], out_keys=["features"]),  # ours
        TensorDictModule(torch.nn.Linear(encoder.features, s.num_actions), ["features"], ["action_value"]),
        QValueModule(action_space="categorical"),
    )
    loss_module = DQNLoss(actor, action_space="categorical", delay_value=True)
    loss_module.make_value_estimator(gamma=0.99)
    target = SoftUpdate(loss_module, eps=0.99)
    optimizer = torch.optim.Adam(loss_module.parameters(), lr=1e-4)
    batch, losses = transitions(s.batch, s.num_actions), []
    for _ in range(s.updates):
        loss = loss_module(batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        target.step()
        losses.append(loss.item())
    print("losses of one batch:", *(f"{loss:.3f}" for loss in losses))
    return losses


if __name__ == "__main__":
    main(tyro.cli(Settings))
