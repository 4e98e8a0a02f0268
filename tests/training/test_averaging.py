import shutil

import pytest
import torch
from lerobot.configs import PreTrainedConfig
from lerobot.policies.factory import make_policy
from safetensors.torch import load_file

from lerobot_qwenvla.training.averaging import averaging, checkpoints, write_averaged

DECAY = 0.9


def averaged_by_hand(weights: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    average = weights[0]
    for later in weights[1:]:
        average = {name: DECAY * average[name] + (1 - DECAY) * later[name] for name in average}
    return average


def test_the_average_is_the_recursion_and_survives_a_checkpoint():
    torch.manual_seed(0)
    layer, unused = torch.nn.Linear(3, 2), torch.nn.Linear(1, 1)

    def make_optimizer() -> torch.optim.AdamW:
        return torch.optim.AdamW([*layer.parameters(), *unused.parameters()], lr=0.1)

    optimizer, weights = make_optimizer(), []
    with averaging(DECAY):
        for step in range(6):
            layer(torch.randn(4, 3)).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
            weights.append({name: p.detach().clone() for name, p in layer.named_parameters()})
            if step == 2:
                state = optimizer.state_dict()
                optimizer = make_optimizer()
                optimizer.load_state_dict(state)
    for name, expected in averaged_by_hand(weights).items():
        torch.testing.assert_close(optimizer.state[layer.get_parameter(name)]["average"], expected)
    assert not optimizer.state.get(unused.weight)
    layer(torch.randn(4, 3)).sum().backward()
    optimizer.step()  # no longer averaged
    torch.testing.assert_close(optimizer.state[layer.bias]["average"], averaged_by_hand(weights)["bias"])


@pytest.fixture(scope="module")
def run(start, train_arguments, tmp_path_factory):
    """Folder of a run of five updates, two of the six batches of an epoch each, with a checkpoint of each update."""
    output_dir = tmp_path_factory.mktemp("averaging") / "run"
    settings = {"steps": 10, "save_freq": 2, "eval_steps": 0, "accelerator.gradient_accumulation.steps": 2}
    averages = {"ema.enable": "true", "ema.decay": DECAY}
    start("qwenvla-train", *train_arguments(output_dir, **settings, **averages)).wait()
    return output_dir


def test_checkpoints_of_a_run_hold_the_average_over_its_updates(run):
    weights = []
    for checkpoint in checkpoints(run):
        weights.append(load_file(checkpoint / "pretrained_model" / "model.safetensors"))
        averaged = load_file(checkpoint / "pretrained_model_ema" / "model.safetensors")
        torch.testing.assert_close(averaged, averaged_by_hand(weights), atol=1e-6, rtol=1e-5)
    assert len(weights) == 5


def test_a_run_resumed_in_its_second_epoch_goes_on_as_if_uninterrupted(run, start):
    *before, last = checkpoints(run)
    files = [f"{folder}/model.safetensors" for folder in ("pretrained_model", "pretrained_model_ema")]
    expected = [load_file(last / file) for file in files]
    shutil.rmtree(last)
    config = before[-1] / "pretrained_model" / "train_config.json"
    start("qwenvla-train", f"--config_path={config}", "--resume=true").wait()
    assert checkpoints(run) == [*before, last]
    for file, weights in zip(files, expected, strict=True):
        torch.testing.assert_close(load_file(last / file), weights, atol=0, rtol=0)


def test_averaged_weights_are_a_policy_like_any_other(run, dataset):
    last, averaged = (run / "checkpoints" / "last" / name for name in ("pretrained_model", "pretrained_model_ema"))
    assert {path.name for path in averaged.iterdir()} == {path.name for path in last.iterdir()}
    config = PreTrainedConfig.from_pretrained(averaged)
    config.pretrained_path = averaged
    policy = make_policy(config, ds_meta=dataset.meta)
    for name, expected in load_file(averaged / "model.safetensors").items():
        assert torch.equal(policy.state_dict()[name], expected)


def test_a_checkpoint_without_averages_is_refused(start, train_arguments, tmp_path):
    start("lerobot-train", *train_arguments(tmp_path / "run", steps=1, eval_steps=0)).wait()
    with pytest.raises(ValueError, match=r"000001 has no averages .* --ema\.enable=true"):
        write_averaged(*checkpoints(tmp_path / "run"))
