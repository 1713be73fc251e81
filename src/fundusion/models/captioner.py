"""A small captioner of its own: the frozen photograph encoder of the screening model and a decoder of whole phrases.

What it can be asked and say is the list of `layers.eye_words`; other words are unknown to it. A picture is seen as cells of the last
map, averaged two by two, so that a decoder of half a million weights can tell where something is, and as statistics of the first stages,
so that it can tell whether something small is there.

Source: image encoder and cross-attending text decoder after Vinyals et al. 2015, arXiv:1411.4555, and Li et al. 2022, arXiv:2201.12086
(section 3.2, captions from cells of the picture); the decoder is that of Vaswani et al. 2017, arXiv:1706.03762.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.durable import write_json
from ..core.errors import IncompatibleWeights, InvalidInput
from ..core.interfaces import Decoding, Turn, Words
from ..core.registry import Card, ImageInput, models
from ..layers.chat import PLAIN, ChatStyle, check_turns, read_chats
from ..layers.eye_words import LANGUAGES, MODALITIES, QUESTIONS, WORDS, question, told_findings
from ..layers.generator import Pictures, pictures_of
from ..layers.weighed_findings import chances_of, findings_of
from ..layers.weights import digest, fit_state, load_state, save_state
from ..layers.word_decoder import WordDecoder, answer_rows
from ..layers.word_tokenizer import WordTokenizer
from ..shipped import resolve_captioner, resolve_model

_TOWER = "encoders.cfp."
#: Numbers per channel that say whether something small is there.
_STATISTICS = 4
#: A prompt ends with its sign; the answer follows without a space of its own.
_STYLE: ChatStyle = replace(PLAIN, picture_first=False)


class Captioner(nn.Module):
    """Answers short questions about one picture in phrases.

    Args:
        tower: Image encoder; its last map is looked at.
        tokenizer: What can be read and said.
        embed_dim: Width of the decoder.
        depth: Blocks of the decoder.
        num_heads: Heads of each attention.
        limit: Most tokens of a conversation.
        dropout: In training.
        decoding: When none is asked for.
    """

    def __init__(
        self,
        tower: Any,
        tokenizer: WordTokenizer,
        *,
        embed_dim: int,
        depth: int,
        num_heads: int,
        limit: int = 64,
        dropout: float = 0.0,
        decoding: Decoding | None = None,
    ) -> None:
        super().__init__()
        self.tower, self._tokenizer, self.limit = tower, tokenizer, limit
        self.decoding = decoding or Decoding()
        #: Family of findings to the chance from which a photograph's answer names it; empty says the likeliest answer.
        self.cuts: dict[str, float] = {}
        self.facts: dict[str, Any] = {}
        self.seen = nn.Sequential(nn.LayerNorm(tower.embed_dim), nn.Linear(tower.embed_dim, embed_dim))
        self.rows = nn.Parameter(torch.randn(8, embed_dim) * 0.2)
        self.columns = nn.Parameter(torch.randn(8, embed_dim) * 0.2)
        self.sides = nn.Linear(tower.embed_dim, embed_dim)
        self.none = nn.Parameter(torch.zeros(1, embed_dim))
        self.fine_width = _STATISTICS * sum(tower.widths[:2])
        #: Last rows of what is seen that hold them.
        self.fine_rows = -(-self.fine_width // tower.embed_dim)
        self.register_buffer("fine_mean", torch.zeros(self.fine_width))
        self.register_buffer("fine_std", torch.ones(self.fine_width))
        self.fine = nn.Sequential(nn.Linear(self.fine_width, 64), nn.GELU(), nn.Linear(64, embed_dim))
        self.decoder = WordDecoder(
            len(tokenizer), embed_dim, depth=depth, num_heads=num_heads, limit=limit, dropout=dropout
        )

    def cells(self, images: Tensor, *, small: bool = True) -> Tensor:
        """Return what the tower sees `(B, N + R, E)` of normalised images `(B, 3, H, W)`; no gradient.

        N cells are of the last map; R rows more hold statistics of the first two stages, where small lesions are still there; zeros
        without `small`.
        """
        with torch.no_grad():
            last = self.tower.encode(images).maps[-1]
            side = min(8, max(1, last.shape[-1] // 2))
            cells = F.adaptive_avg_pool2d(last, side).flatten(2).transpose(1, 2)
            width = cells.shape[-1]
            if not small:
                return F.pad(cells, (0, 0, 0, self.fine_rows))
            fine = torch.cat([_statistics(m) for m in self.tower.stages(images, 2)], 1)
            fine = F.pad(fine, (0, -fine.shape[1] % width))
            return torch.cat([cells, fine.unflatten(1, (-1, width)).to(cells.dtype)], 1)

    def small_of(self, cells: Tensor) -> Tensor:
        """Return the statistics of the first stages `(B, S)`."""
        return cells[:, -self.fine_rows :].flatten(1)[:, : self.fine_width]

    def look(self, cells: Tensor) -> Tensor:
        """Return cells as the decoder reads them `(B, N + 3, E)`: with their places, their mean, left against right, what is small.

        The side of an eye is where its disc is: the difference of both halves says it, the cells alone only after long training.
        """
        small = self.small_of(cells)
        cells = cells[:, : -self.fine_rows]
        side = int(cells.shape[1] ** 0.5)
        places = (self.rows[:side, None] + self.columns[None, :side]).flatten(0, 1)
        found = self.seen(cells)
        small = self.fine(((small - self.fine_mean) / self.fine_std).clamp(-5, 5))
        columns = self.seen[0](cells).unflatten(1, (side, side)).mean(1)
        # Of a single cell both halves are the cell.
        half = max(1, side // 2)
        halves = self.sides(columns[:, :half].mean(1) - columns[:, side - half :].mean(1))
        return torch.cat([found + places, found.mean(1, keepdim=True), halves[:, None], small[:, None]], 1)

    def _seen(self, pictures: Pictures, count: int) -> Tensor:
        kinds = [m for m in pictures.images if bool(pictures.present[m].any())]
        shown = torch.stack([pictures.present[m] for m in kinds]).sum(0) if kinds else torch.zeros(count)
        if bool((shown > 1).any()):
            raise InvalidInput("this model looks at one picture; a conversation has several.", code="chat.images")
        empty = self.none.expand(count, 1, -1)
        if not kinds:
            # As many rows as with a picture: none, and nothing small.
            return torch.cat([empty, empty], 1)
        answer: Tensor | None = None
        for kind in kinds:
            rows = pictures.present[kind]
            found = self.look(self.cells(pictures.images[kind][rows]))
            answer = empty.expand(count, found.shape[1], -1).clone() if answer is None else answer
            answer[rows] = found
        return answer  # type: ignore[return-value]

    def read(
        self,
        images: Tensor | Mapping[str, Tensor] | None,
        messages: Sequence[Sequence[Turn]],
        *,
        answers: bool = True,
        present: Any = None,
    ) -> Words:
        """Return token ids; with `answers` the last turn is the answer to learn and padding is on the right, else on the left."""
        pictures_of(images, present, len(messages))
        check_turns(messages, answers=answers)
        start = self._tokenizer.start_token_id
        return read_chats(
            self._tokenizer, messages, [""] * len(messages), style=_STYLE, start=start, limit=self.limit,
            left=not answers,
        )  # fmt: skip

    def token_logits(
        self, images: Tensor | Mapping[str, Tensor] | None, words: Words, *, present: Any = None
    ) -> Tensor:
        """Return float32 logits `(B, T, V)`; those at place t are of the token at t + 1."""
        seen = self._seen(pictures_of(images, present, len(words.ids)), len(words.ids))
        return self._logits(words, seen)

    def answer_logits(self, cells: Tensor, words: Words) -> Tensor:
        """Return the same from cells kept from before, as training needs them."""
        return self._logits(words, self.look(cells))

    def _shown(self, ids: Tensor, seen: Tensor) -> Tensor:
        """Return what is seen by rows of ids `(B, T)`: what is small is shown to the question on retinopathy only.

        That question is learned from drawn eyes; to the others, learned from real ones too, it would show the camera.
        """
        names = [self._tokenizer.convert_tokens_to_ids(n) for n in QUESTIONS["retinopathy"]]
        asked = torch.isin(ids, torch.tensor(names, device=ids.device)).any(1)
        return torch.cat([seen[:, :-1], seen[:, -1:] * asked[:, None, None]], 1)

    def _logits(self, words: Words, seen: Tensor) -> Tensor:
        # Positions count from the first word of a row, wherever its padding is.
        lengths, total = words.mask.sum(1), words.ids.shape[1]
        first = words.mask.int().argmax(1)
        where = (first[:, None] + torch.arange(total, device=words.ids.device)).clamp(max=total - 1)
        made = self.decoder(words.ids.gather(1, where), self._shown(words.ids, seen)).float()
        back = (torch.arange(total, device=words.ids.device) - first[:, None]).clamp(min=0)
        back = back.minimum(lengths[:, None] - 1)
        return made.gather(1, back[..., None].expand(-1, -1, made.shape[-1]))

    @torch.no_grad()
    def generate(
        self,
        images: Tensor | Mapping[str, Tensor] | None,
        messages: Sequence[Sequence[Turn]],
        *,
        max_tokens: int = 32,
        decoding: Decoding | None = None,
        seed: int = 0,
        stop: Sequence[str] = (),
        present: Any = None,
        watch: Callable[[list[str]], None] | None = None,
    ) -> list[str]:
        """Return one answer per conversation, without its prompt.

        Args:
            images: `(B, 3, H, W)`, or by modality, or None.
            messages: Turns per row; the last is of the user.
            max_tokens: Most new tokens; no more than there is room for are said.
            decoding: How tokens are chosen; None takes the rule of the model.
            seed: Of the draws; the random state of the caller is left alone.
            stop: An answer ends before the first of these words.
            present: Which row has its picture.
            watch: Called after every token with the answers so far of the row that is being answered.
        """
        if max_tokens < 1 or any(not s for s in stop):
            raise InvalidInput(
                f"max_tokens {max_tokens} must be positive and stop words not empty.", code="config.decoding"
            )
        words = self.read(images, messages, answers=False, present=present)
        was = self.training
        self.eval()
        try:
            seen = self._seen(pictures_of(images, present, len(messages)), len(messages))
            rule = decoding or self.decoding
            answers = self._answers(seen, words, max_tokens, rule, seed, stop=stop, watch=watch)
            if decoding is None and self.cuts and watch is None:
                answers = self._weighed(seen, messages, answers, stop)
            return answers
        finally:
            self.train(was)

    def _weighed(
        self, seen: Tensor, messages: Sequence[Sequence[Turn]], answers: list[str], stop: Sequence[str]
    ) -> list[str]:
        """Return answers in which the findings of photographs are those over their cuts."""
        asked = {_asked(question(k, lang)): (k, lang) for k in ("caption", "findings") for lang in LANGUAGES}
        rows = [i for i, turns in enumerate(messages) if len(turns) == 1 and _asked(turns[0].text) in asked]
        rows = [i for i in rows if self._is_photograph(seen[i : i + 1])]
        if not rows:
            return answers
        chances = self.chances(seen[rows]).double().cpu().numpy()
        for i, keys in zip(rows, findings_of(chances, self.cuts), strict=True):
            kind, language = asked[_asked(messages[i][0].text)]
            colon = ": " if language == "en" else "："
            begun = answers[i].partition(colon)[0] + colon if kind == "caption" else ""
            answers[i] = _said(begun + told_findings(keys, language), stop)[0].strip()
        return answers

    def chances(self, seen: Tensor) -> Tensor:
        """Return the chance `(B, K)` of each of `eye_words.FINDINGS` in pictures as the decoder reads them (`look`).

        What is small is hidden, as it is from every question but the one on retinopathy.
        """
        hidden = torch.cat([seen[:, :-1], torch.zeros_like(seen[:, -1:])], 1)
        return chances_of(self.decoder, self._tokenizer, hidden)

    def _is_photograph(self, seen: Tensor) -> bool:
        ids = [self._tokenizer.start_token_id, *self._tokenizer(question("modality"))["input_ids"]]
        asked = torch.tensor([ids], device=seen.device)
        said = int(self.decoder(asked, self._shown(asked, seen))[0, -1].argmax())
        return said == self._tokenizer.convert_tokens_to_ids(MODALITIES["cfp"][0])

    def _answers(
        self, seen: Tensor, words: Words, max_tokens: int, rule: Decoding, seed: int, *, stop: Sequence[str],
        watch: Callable[[list[str]], None] | None,
    ) -> list[str]:  # fmt: skip
        generator = torch.Generator().manual_seed(seed)
        banned = [self._tokenizer.pad_token_id, self._tokenizer.start_token_id, self._tokenizer.unk_token_id]
        answers = []
        for row in range(len(seen)):
            prompt = words.ids[row][words.mask[row]].tolist()

            def step(ids: Tensor, row: int = row) -> Tensor:
                one = self._shown(ids[:1].to(seen.device), seen[row : row + 1]).expand(len(ids), -1, -1)
                return self.decoder(ids.to(seen.device), one)[:, -1].cpu()

            def stopped(rows: list[list[int]]) -> list[bool]:
                said = [_said(self._tokenizer.decode(ids), stop) for ids in rows]
                if watch is not None:
                    watch([said[0][0]])
                return [done for _, done in said]

            made = answer_rows(
                step, prompt, rule=rule, max_tokens=min(max_tokens, self.limit - len(prompt)),
                end=self._tokenizer.eos_token_id, banned=banned, generator=generator,
                stopped=stopped if stop or watch is not None else None,
            )  # fmt: skip
            answers.append(_said(self._tokenizer.decode(made), stop)[0].strip())
        return answers

    def own_state(self) -> dict[str, Tensor]:
        """Return the weights beside those of the tower."""
        return {k: v for k, v in self.state_dict().items() if not k.startswith("tower.")}

    def save(self, folder: str | Path) -> None:
        """Write all weights and the list of words into a folder that `weights=FOLDER` reads."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        save_state(target / "captioner.safetensors", self.state_dict())
        facts = {
            "words": list(self._tokenizer.entries), "cuts": self.cuts, "sha256": digest(target / "captioner.safetensors"),
        }  # fmt: skip
        write_json(target / "captioner.json", facts)


def _statistics(maps: Tensor) -> Tensor:
    """Return mean, mean and maximum of the maxima in a grid of 14, and mean of the eight greatest of them, `(B, 4C)`."""
    maps = maps.float()
    greatest = F.adaptive_max_pool2d(maps, 14).flatten(2)
    top = greatest.topk(8, 2).values.mean(2)
    return torch.cat([maps.mean((2, 3)), greatest.mean(2), greatest.amax(2), top], 1)


def _asked(text: str) -> str:
    return text.strip().lower().rstrip("?？")


def _said(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    found = [text.index(s) for s in stop if s in text]
    return (text[: min(found)], True) if found else (text, False)


_INPUT = ImageInput(size=224, mean=(0.42, 0.28, 0.20), std=(0.25, 0.20, 0.17))
_CARD = Card(
    title="Captioner, small",
    roles=frozenset({"generate"}),
    modalities=frozenset({"cfp", "oct", "ffa"}),
    input=_INPUT,
    paper="arXiv:1411.4555",
    weight_license="research only, after the terms of ODIR-5K",
    training_data=("ODIR-5K", "IDRiD", "drawn eyes"),
    obtain='They are in the package: weights="shipped".',
    notes="Knows a list of phrases in English and Chinese. B-scans and angiograms it saw drawn ones of only.",
)


def tower_of(network: str | Path) -> dict[str, Tensor]:
    """Return the photograph encoder of a shipped or trained network."""
    folder, _ = resolve_model(network)
    state = load_state(folder / "weights.safetensors")
    return {k.removeprefix(_TOWER): v.float() for k, v in state.items() if k.startswith(_TOWER)}


def _loaded(model: Captioner, weights: str | Path) -> Captioner:
    folder, name = resolve_captioner(weights)
    facts = json.loads((folder / "captioner.json").read_text("utf-8"))
    path = folder / "captioner.safetensors"
    found = digest(path)
    if found != facts["sha256"] or list(model._tokenizer.entries) != facts["words"]:
        what = "weights" if found != facts["sha256"] else "list of words"
        raise IncompatibleWeights(
            f"the {what} of the captioner {name!r} are not those that were written together.",
            code="model.digest",
            hint="A file was damaged or exchanged, or the package is of another version; train or install it again.",
        )
    state = {k: v.float() for k, v in load_state(path).items()}
    if "tower" in facts:
        # The tower is not stored twice; that it is the one the decoder learned to read is checked.
        tower, _ = resolve_model(facts["tower"]["network"])
        if digest(tower / "weights.safetensors") != facts["tower"]["sha256"]:
            raise IncompatibleWeights(
                f"the captioner {name!r} reads an image encoder of {facts['tower']['network']!r} with other weights.",
                code="model.digest",
                hint="Train it again on the encoder that is here.",
            )
        state |= {f"tower.{k}": v for k, v in tower_of(facts["tower"]["network"]).items()}
    fit_state(model, state)
    model.cuts = {k: float(v) for k, v in facts.get("cuts", {}).items()}
    model.facts = facts
    return model


@models.register("captioner.small", _CARD)
def small(
    *,
    weights: str | Path | None = None,
    image_weights: str | Path | None = None,
    embed_dim: int = 128,
    depth: int = 2,
    dropout: float = 0.0,
) -> Captioner:
    """Return the small captioner: 4.2 M parameters see, half a million speak.

    Args:
        weights: "shipped", or the folder that `fundusion train-captioner` or `save` wrote.
        image_weights: Shipped or trained network whose photograph encoder is the tower.
        embed_dim: Width of the decoder.
        depth: Blocks of the decoder.
        dropout: Of the decoder, in training.
    """
    tower = models.create("contrast_resnet.small")
    model = Captioner(
        tower, WordTokenizer(WORDS), embed_dim=embed_dim, depth=depth, num_heads=4, limit=48, dropout=dropout
    )
    if weights is not None:
        return _loaded(model, weights)
    if image_weights is not None:
        fit_state(tower, tower_of(image_weights))
    return model


@models.register(
    "captioner.test",
    replace(
        _CARD,
        title="Captioner, smallest",
        input=replace(_INPUT, size=64),
        weight_license=None,
        training_data=(),
        obtain="",
        notes="",
    ),
)
def test(*, weights: str | Path | None = None) -> Captioner:
    """Return the smallest legal configuration."""
    tower = models.create("contrast_resnet.test")
    model = Captioner(tower, WordTokenizer(WORDS), embed_dim=16, depth=1, num_heads=2, limit=48)
    return model if weights is None else _loaded(model, weights)
