import pytest

from lerobot_qwenvla.backbone import BackboneSettings


def test_dequantising_changes_no_feature_and_so_no_identity():
    plain, whole = BackboneSettings("a"), BackboneSettings("a", dequantize=True)
    assert plain == whole
    assert plain.identity() == whole.identity()
    assert BackboneSettings("a", dtype="float32") != plain


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"quantization": "3bit"}, "--policy.quantization must be one of none, 4bit, 8bit, got '3bit'"),
        ({"vision_quantization": "16bit"}, "--policy.vision_quantization must be one of none, 4bit, 8bit, got '16bit'"),
        ({"dtype": "float16"}, "--policy.dtype must be one of float32, bfloat16, got 'float16'"),
        ({"frame_encoding": "video"}, "--policy.frame_encoding must be one of per_frame, joint, got 'video'"),
        ({"vlm_layer": 0}, "--policy.vlm_layer must be at least 1, got 0"),
        ({"image_size": 16}, "--policy.image_size must be at least 32 pixels, got 16"),
        ({"dequantize": True, "quantization": "none"}, "--policy.dequantize=true is for 4-bit weights, got"),
    ],
)
def test_impossible_settings_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        BackboneSettings("a", **setting)
