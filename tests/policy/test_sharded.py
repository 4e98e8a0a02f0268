"""FSDP shards the policy by the units it declares, and it trains the same."""

import pytest
import torch
import torch.distributed
from torch.distributed.fsdp import fully_shard

from lerobot_qwenvla.policy.modeling_qwenvla import QwenVLAPolicy


@pytest.fixture
def mesh(tmp_path):
    """Of one process, in which parameters are as unusable outside of their unit's forward as among many."""
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield torch.distributed.init_device_mesh("cpu", (1,))
    torch.distributed.destroy_process_group()


def test_gradients_of_a_sharded_policy_are_those_of_a_whole_one(mesh, feature_dataset, make_trainee, make_batch):
    whole, sharded = make_trainee(feature_dataset), make_trainee(feature_dataset)
    units = [m for m in sharded.modules() if type(m).__name__ in QwenVLAPolicy._fsdp_wrap_modules]
    for unit in (*units, sharded):
        fully_shard(unit, mesh=mesh)
    assert len(units) == sharded.config.expert_layers
    batch = make_batch(feature_dataset, whole, [0, 8])
    for policy in (whole, sharded):
        policy(batch)[0].backward()
    gradients = {name: p.grad.full_tensor() for name, p in sharded.named_parameters()}
    torch.testing.assert_close(gradients, {name: p.grad for name, p in whole.named_parameters()})
