"""KeepFIT: FLAIR that looks up the knowledge of an atlas, MM-Retinal, through an attention from pictures to pictures to texts.

Source: Wu et al. 2024, arXiv:2405.11793; written from a description of the released code
(lxirich/MM-Retinal), not from the code. Its attention is normalised over the heads, not over what is attended to, because no axis was
named; the released weights were trained so. `attention="released"` does it too, `attention="keys"` does what the paper describes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from ..core.errors import InvalidInput
from ..core.registry import Card, ImageInput, models
from ..layers.backbones import StagedEncoder, create_body
from ..layers.checkpoints import Rules
from ..layers.image_text import Checkpoint, ImageTextModel
from ..layers.text_tower import letter_tower

AttentionRule = Literal["released", "keys"]
_TEXT_LAYERS = (1, 2, -1)
_RULES = Rules(ignored=("text_model.model.embeddings.position_ids",))


class KnowledgeAttention(nn.Module):
    """Texts of an atlas, weighted by how alike its pictures are to those at hand.

    Args:
        width: Of the common space.
        num_heads: Parts of it that are compared apart.
        dropout: Of weights, in training.
        rule: "released": the weights of the heads of one pair sum to one; "keys": those of one picture over the atlas do.
    """

    def __init__(
        self, width: int, *, num_heads: int = 2, dropout: float = 0.5, rule: AttentionRule = "released"
    ) -> None:
        super().__init__()
        if rule not in ("released", "keys"):
            raise InvalidInput(f'attention {rule!r} is not "released" (over heads) or "keys" (as in the paper).')
        self.num_heads, self.dropout, self.rule = num_heads, dropout, rule
        self.W_q, self.W_k, self.W_v, self.W_o = (nn.Linear(width, width, bias=False) for _ in range(4))

    def weights(self, images: Tensor, atlas_images: Tensor) -> Tensor:
        """Return the weights `(heads, B, K)` before dropout."""
        q, k = self._split(self.W_q(images)), self._split(self.W_k(atlas_images))
        scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
        return scores.softmax(0 if self.rule == "released" else -1)

    def forward(self, images: Tensor, atlas_images: Tensor, atlas_texts: Tensor) -> Tensor:
        """Return what the atlas says of pictures, `(B, D)`.

        Shapes:
            images `(B, D)`; atlas_images and atlas_texts `(K, D)`, row by row of one pair.
        """
        weights = F.dropout(self.weights(images, atlas_images), self.dropout, self.training)
        found = weights @ self._split(self.W_v(atlas_texts))
        return self.W_o(found.transpose(0, 1).reshape(len(images), -1))

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(len(x), self.num_heads, -1).transpose(0, 1)


def _card(title: str, *, released: bool) -> Card:
    return Card(
        title=title,
        roles=frozenset({"encode", "encode_text", "align"}),
        modalities=frozenset({"cfp", "text"}),
        input=ImageInput(
            size=512, mean=(0.0,) * 3, std=(1.0,) * 3, crop="none", fit="corner", resample="bilinear"
        ),
        paper="arXiv:2405.11793",
        weight_license="not stated" if released else None,
        training_data=("sets of FLAIR", "MM-Retinal") if released else (),
        obtain="Four files are linked from the page of lxirich/MM-Retinal (resnet_v2_epoch<k>.pth); give the path of one."
        if released
        else "",
        notes="The texts and captions of MM-Retinal have no stated terms; none is part of this package. "
        "Longer texts than 256 tokens are cut.",
        strides=(4, 8, 16, 32),
        facts={"prompt": "A fundus photograph of {}"},
    )  # fmt: skip


_RESNET = _card("KeepFIT, FLAIR with the knowledge of MM-Retinal", released=True)
_TEST = _card("KeepFIT, smallest", released=False)


def _fill(file: Checkpoint, model: ImageTextModel) -> ImageTextModel:
    # Training of KeepFIT starts from files of FLAIR, which have no attention at all; half an attention is an error.
    whole = any(k.startswith("attention.") for k in file.state)
    file.fill(model, optional=() if whole else ("attention.",))
    return model


@models.register("keepfit.resnet_50", _RESNET)
def resnet_50(
    *,
    weights: str | Path | None = None,
    tokenizer: str | None = None,
    pooling: str = "mean",
    max_tokens: int = 256,
    attention: AttentionRule = "released",
    text: Mapping[str, int] | None = None,
) -> ImageTextModel:
    """Return KeepFIT (134.3 M parameters).

    Args:
        weights: A file, or a folder with `model.safetensors`, in which a tokenizer is looked for too. A file of FLAIR fits; its
            attention is fresh.
        tokenizer: Folder or hub id of the words of Bio_ClinicalBERT.
        pooling: "mean", or "mean_with_padding" as released: a text's vector then depends on the longest text of the call.
        max_tokens: Longer texts are cut.
        attention: "released" (weights normalised over heads, which the released files need) or "keys" (over the atlas).
        text: Sizes of another BERT; those of the file are found without.
    """
    file = Checkpoint(weights, card=_RESNET, rules=_RULES)
    words = file.text(sizes=text, tokenizer=tokenizer, pooling=pooling, layers=_TEXT_LAYERS, max_tokens=max_tokens)
    body = create_body("resnet50", global_pool="")
    return _fill(file, ImageTextModel(body, StagedEncoder, words, attention=KnowledgeAttention(512, rule=attention)))


@models.register("keepfit.test", _TEST)
def test(
    *, weights: str | Path | None = None, pooling: str = "mean", attention: AttentionRule = "released"
) -> ImageTextModel:
    """Return the smallest legal configuration."""
    from timm.models.resnet import BasicBlock, ResNet

    body = ResNet(BasicBlock, [1, 1, 1, 1], channels=(8, 8, 16, 16), num_classes=0, global_pool="")
    tower = letter_tower(pooling=pooling, layers=_TEXT_LAYERS, pooler=True)
    model = ImageTextModel(body, StagedEncoder, tower, align_dim=8, attention=KnowledgeAttention(8, rule=attention))
    return _fill(Checkpoint(weights, card=_TEST, rules=_RULES), model)
