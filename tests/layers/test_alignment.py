"""Rows of all processes: the loss and the gradients of several processes are those of one with the whole batch."""

import os

import pytest
import torch
from torch import nn

from fundusion.core.errors import InvalidInput
from fundusion.core.interfaces import Batch
from fundusion.core.registry import models
from fundusion.layers.alignment import align, gather_rows, same_category, symmetric_cross_entropy


def batch_of(texts, network, pictures=None, **targets):
    """Return a batch whose first rows have pictures; a blank text is none."""
    count = len(texts)
    pictures = count if pictures is None else pictures
    ids, mask = network.tokenize(texts)
    present = torch.zeros(count, 2, dtype=torch.bool)
    present[:pictures, 0] = True
    present[:, 1] = mask.any(1)
    images = torch.rand(pictures, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    return Batch(
        study_ids=tuple(map(str, range(count))), modalities=("cfp", "text"), present=present,
        images={"cfp": images} if pictures else {}, owner={"cfp": torch.arange(pictures)} if pictures else {},
        text_ids=ids, text_mask=mask, targets={k: torch.as_tensor(v, dtype=torch.float32) for k, v in targets.items()},
    )  # fmt: skip


@pytest.fixture
def network():
    torch.manual_seed(0)
    return models.create("image_text.test").eval()


def test_rows_without_picture_or_text_are_zero_and_the_others_have_length_one(network):
    found = align(network, batch_of(["drusen", "", "normal"], network, pictures=2))
    assert found.has_image.tolist() == [True, True, False]
    assert found.has_text.tolist() == [True, False, True]
    torch.testing.assert_close(found.images.norm(dim=1), torch.tensor([1.0, 1.0, 0.0]))
    torch.testing.assert_close(found.texts.norm(dim=1), torch.tensor([1.0, 0.0, 1.0]))
    assert found.pairs().tolist() == [0]


def test_pictures_of_one_study_become_their_mean(network):
    batch = batch_of(["a", "b"], network)
    three = torch.cat([batch.images["cfp"], batch.images["cfp"][:1].flip(3)])
    many = Batch(
        study_ids=batch.study_ids, modalities=batch.modalities, present=batch.present, images={"cfp": three[[0, 2, 1]]},
        owner={"cfp": torch.tensor([0, 0, 1])}, text_ids=batch.text_ids, text_mask=batch.text_mask,
    )  # fmt: skip
    single = network.align_images(three)
    expected = torch.nn.functional.normalize(single[0] + single[2], dim=0)
    torch.testing.assert_close(align(network, many).images[0], expected, rtol=1e-4, atol=1e-5)


def test_a_batch_of_two_kinds_of_pictures_or_of_nothing_is_refused(network):
    batch = batch_of(["a"], network)
    for images in ({"cfp": batch.images["cfp"], "oct": batch.images["cfp"]}, {}):
        bad = Batch(study_ids=("0",), modalities=("cfp",), present=batch.present, images=images)
        with pytest.raises(InvalidInput, match="image-text loss"):
            align(network, bad)


def test_rows_of_unknown_category_are_alone():
    found = same_category(torch.tensor([2.0, float("nan"), 2.0, float("nan")]), 4, "cpu")
    assert found.tolist() == [[True, False, True, False], [False, True, False, False], [True, False, True, False],
                              [False, False, False, True]]  # fmt: skip
    assert torch.equal(same_category(None, 3, "cpu"), torch.eye(3, dtype=torch.bool))


def test_the_two_sides_of_the_cross_entropy_are_alike():
    logits, target = torch.randn(4, 4), torch.eye(4)
    torch.testing.assert_close(symmetric_cross_entropy(logits, target), symmetric_cross_entropy(logits.T, target))


def test_one_process_gathers_its_own_rows():
    rows = torch.randn(3, 2)
    assert gather_rows(rows) is rows


class _Towers(nn.Module):
    """An aligner whose pictures and texts are one linear map each; BatchNorm would differ between processes by itself."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.image, self.text = nn.Linear(12, 4, bias=False), nn.Embedding(9, 4)
        self.log_scale = nn.Parameter(torch.tensor(1.0))
        self.align_dim = 4

    def tokenize(self, texts):
        ids = torch.tensor([[int(t or 0)] for t in texts])
        return ids, ids > 0

    def align_images(self, images):
        return torch.nn.functional.normalize(self.image(images.flatten(1)), dim=1)

    def align_texts(self, ids, mask):
        return torch.nn.functional.normalize(self.text(ids[:, 0]), dim=1)

    def scale(self):
        return self.log_scale.exp()

    def shift(self):
        return torch.zeros(())


def _rows(chosen):
    everything = torch.rand(5, 3, 2, 2, generator=torch.Generator().manual_seed(5))
    texts, categories = ["1", "2", "3", "1", ""], [0.0, 1.0, float("nan"), 0.0, 1.0]
    ids, mask = _Towers().tokenize([texts[i] for i in chosen])
    return Batch(
        study_ids=tuple(map(str, chosen)), modalities=("cfp", "text"),
        present=torch.stack([torch.ones(len(chosen), dtype=torch.bool), mask.any(1)], 1),
        images={"cfp": everything[chosen]}, owner={"cfp": torch.arange(len(chosen))}, text_ids=ids, text_mask=mask,
        targets={"category": torch.tensor([categories[i] for i in chosen])},
    )  # fmt: skip


def _process(rank, folder, port):
    from fundusion.core.registry import objectives

    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    towers = _Towers()
    loss = objectives.create("contrastive.flair")(towers, _rows([[0, 1, 2], [3, 4]][rank]))
    loss.total.backward()
    for parameter in towers.parameters():
        # What data-parallel training does with gradients.
        torch.distributed.all_reduce(parameter.grad)
        parameter.grad /= 2
    torch.save(
        {"loss": loss.total.detach(), **{n: p.grad for n, p in towers.named_parameters()}}, f"{folder}/{rank}.pt"
    )
    # Neither leaves while the other may still talk to it; then the process ends without the destructors of the transport's threads,
    # which abort now and then. What was computed is in the file, and the parent compares it.
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    os._exit(0)


def test_two_processes_with_unequal_rows_give_the_loss_and_gradients_of_one(tmp_path):
    import socket

    from fundusion.core.registry import objectives

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(_process, args=(str(tmp_path), port), nprocs=2)
    towers = _Towers()
    loss = objectives.create("contrastive.flair")(towers, _rows([0, 1, 2, 3, 4]))
    loss.total.backward()
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close(found.pop("loss"), loss.total.detach())
        for name, parameter in towers.named_parameters():
            torch.testing.assert_close(found[name], parameter.grad, msg=name)
