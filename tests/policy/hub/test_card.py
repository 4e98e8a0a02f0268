from huggingface_hub import ModelCard

from lerobot_qwenvla.policy.hub.card import Result, changed_settings, make_card


def test_settings_are_those_that_were_changed(make_config, backbone_dir):
    settings = changed_settings(make_config(num_frames=5))
    assert settings["num_frames"] == 5
    assert settings["backbone"] == str(backbone_dir)
    assert "frame_skip" not in settings and "device" not in settings


def test_the_card_lerobot_pushes_tells_data_settings_and_how_to_run_it(make_trainee, pixel_dataset):
    policy = make_trainee(pixel_dataset)
    card = policy.generate_model_card("me/pixels", "qwenvla", "mit", ["game"], dataset_meta=pixel_dataset.meta)
    text = str(card)
    assert "3 episodes, 27 frames at 10 a second" in text
    assert "“go to box 0”, “go to box 1”, “go to box 2”" in text
    assert "| `chunk_size` | `6` |" in text
    assert "`channel.0`, `channel.1`" in text
    assert "None yet: nobody has evaluated this checkpoint." in text
    assert "lerobot-eval --policy.path=USER/POLICY" in text
    assert card.data.datasets == "me/pixels"
    assert {"robotics", "lerobot", "qwenvla"} <= set(card.data.tags)


def test_results_stand_in_the_table_and_in_the_metadata(make_config):
    config = make_config(backbone="Qwen/Qwen3-VL-2B-Instruct", repo_id="me/policy")
    card = make_card(config, "me/data", results=[Result("OneRoom", 0.98, (0.9, 0.996), 50)])
    text = str(card)
    assert "| OneRoom | 98 % | 90–100 % | 50 |" in text
    assert "--policy.path=me/policy" in text
    read = ModelCard(text)
    [result] = read.data.eval_results
    assert (result.dataset_name, result.metric_value) == ("OneRoom", 0.98)
    assert read.data.base_model == "Qwen/Qwen3-VL-2B-Instruct"
