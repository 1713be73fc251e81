"""Names of a released file and of transformers: one to one, either kind of file to either."""

import torch

from fundusion.layers.promptable import sam_settings
from fundusion.layers.sam_image import SamImageEncoder
from fundusion.layers.sam_masks import SamMaskDecoder, SamPromptEncoder
from fundusion.layers.sam_names import is_released, to_released, to_transformers


def released():
    parts = {
        "image_encoder": SamImageEncoder(16, 2, 2, (1,), size=32, window=2, out=8),
        "prompt_encoder": SamPromptEncoder(8, 2, 32),
        "mask_decoder": SamMaskDecoder(8, num_heads=2, mlp=8, score_hidden=8),
    }
    return {f"{n}.{k}": v for n, m in parts.items() for k, v in m.state_dict().items()}


def test_a_released_file_fills_the_model_of_transformers():
    import transformers

    with torch.device("meta"):
        wanted = transformers.SamModel(
            sam_settings(16, 2, 2, (1,), size=32, window=2, channels=8, decoder_heads=2, decoder_mlp=8)
        ).state_dict()
    state = to_transformers(released())
    assert {k: tuple(v.shape) for k, v in state.items()} == {k: tuple(v.shape) for k, v in wanted.items()}


def test_there_and_back_again():
    state = released()
    other = to_transformers(state)
    assert is_released(state)
    assert not is_released(other)
    back = to_released(other, state)
    assert back.keys() == state.keys()
    assert all(back[k] is state[k] for k in state)
    # Files of either kind are known by their names.
    assert to_released(state, state) == state
    assert to_transformers(other) == other


def test_a_file_that_keeps_the_shared_table_once_is_whole():
    other = to_transformers(released())
    one = {k: v for k, v in other.items() if not k.startswith("prompt_encoder.shared")}
    assert to_transformers(one).keys() == other.keys()
