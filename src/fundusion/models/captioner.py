"""A small captioner of its own: the frozen photograph encoder of the screening model, a head of findings and a decoder of whole phrases.

What it can be asked and say is the list of `layers.eye_words`; other words are unknown to it. A picture is seen twice: whole, at the
side of the encoder, as cells of the last map, averaged two by two, so that a decoder of half a million weights can tell where something
is; and at its full side, as a list of small dark spots with what the first stages see of each. The head decides which findings a
photograph's answer names, and the decoder words them: it chooses among the phrases that the decision leaves.

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
from ..layers.dark_spots import spot_features
from ..layers.eye_words import LANGUAGES, MODALITIES, QUESTIONS, WORDS, question
from ..layers.finding_head import FindingHead
from ..layers.generator import Pictures, pictures_of
from ..layers.phrase_guide import PhraseGuide
from ..layers.weighed_findings import findings_of
from ..layers.weights import digest, fit_state, load_state, save_state
from ..layers.word_decoder import WordDecoder, answer_rows
from ..layers.word_tokenizer import WordTokenizer
from ..shipped import resolve_captioner, resolve_model

_TOWER = "encoders.cfp."
#: Colour and contrast of a spot.
_SPOT_FACTS = 4
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
        view: Side at which a whole picture is seen, px; smaller pictures are seen as they are.
        spots: Most small dark spots of a picture that are looked at.
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
        view: int,
        spots: int,
        limit: int = 64,
        dropout: float = 0.0,
        decoding: Decoding | None = None,
    ) -> None:
        super().__init__()
        self.tower, self._tokenizer, self.limit = tower, tokenizer, limit
        self.view, self.spots = view, spots
        self.decoding = decoding or Decoding()
        #: Family of findings to the chance of the head from which a photograph's answer names it; empty leaves it to the decoder.
        self.cuts: dict[str, float] = {}
        self.facts: dict[str, Any] = {}
        self.seen = nn.Sequential(nn.LayerNorm(tower.embed_dim), nn.Linear(tower.embed_dim, embed_dim))
        self.rows = nn.Parameter(torch.randn(8, embed_dim) * 0.2)
        self.columns = nn.Parameter(torch.randn(8, embed_dim) * 0.2)
        self.sides = nn.Linear(tower.embed_dim, embed_dim)
        self.none = nn.Parameter(torch.zeros(1, embed_dim))
        self.fine_width = sum(tower.widths[:2]) + _SPOT_FACTS
        #: Last rows of what is seen that hold the spots.
        self.fine_rows = -(-spots * self.fine_width // tower.embed_dim)
        self.register_buffer("fine_mean", torch.zeros(self.fine_width))
        self.register_buffer("fine_std", torch.ones(self.fine_width))
        self.spot = nn.Sequential(nn.Linear(self.fine_width, 64), nn.GELU(), nn.Linear(64, 32))
        self.fine = nn.Linear(64, embed_dim)
        self.head = FindingHead(tower.embed_dim)
        self.decoder = WordDecoder(
            len(tokenizer), embed_dim, depth=depth, num_heads=num_heads, limit=limit, dropout=dropout
        )

    def cells(self, images: Tensor, *, small: bool = True) -> Tensor:
        """Return what the tower sees `(B, N + R, E)` of normalised images `(B, 3, H, W)`; no gradient.

        N cells are of the last map of the whole picture; R rows more hold the small dark spots, found at the full side of the picture;
        zeros without `small`.
        """
        with torch.no_grad():
            whole = images
            if images.shape[-1] > self.view:
                whole = F.interpolate(images, (self.view, self.view), mode="area")
            last = self.tower.encode(whole).maps[-1]
            side = min(8, max(1, last.shape[-1] // 2))
            cells = F.adaptive_avg_pool2d(last, side).flatten(2).transpose(1, 2)
            width = cells.shape[-1]
            if not small:
                return F.pad(cells, (0, 0, 0, self.fine_rows))
            found = spot_features(images, self.tower.stages(images, 2), self.spots).flatten(1)
            found = F.pad(found, (0, self.fine_rows * width - found.shape[1]))
            return torch.cat([cells, found.unflatten(1, (-1, width)).to(cells.dtype)], 1)

    def spots_of(self, cells: Tensor) -> Tensor:
        """Return the features of the spots `(B, S, F)`; of places that are none, zeros."""
        flat = cells[:, -self.fine_rows :].flatten(1)
        return flat[:, : self.spots * self.fine_width].unflatten(1, (self.spots, self.fine_width))

    def pooled(self, cells: Tensor) -> Tensor:
        """Return what the head of findings reads `(B, E)`: the mean of the cells of the whole picture."""
        return cells[:, : -self.fine_rows].float().mean(1)

    def look(self, cells: Tensor) -> Tensor:
        """Return cells as the decoder reads them `(B, N + 3, E)`: with their places, their mean, left against right, what is small.

        The side of an eye is where its disc is: the difference of both halves says it, the cells alone only after long training.
        """
        small = self._spotted(self.spots_of(cells))
        cells = cells[:, : -self.fine_rows]
        side = int(cells.shape[1] ** 0.5)
        places = (self.rows[:side, None] + self.columns[None, :side]).flatten(0, 1)
        found = self.seen(cells)
        columns = self.seen[0](cells).unflatten(1, (side, side)).mean(1)
        # Of a single cell both halves are the cell.
        half = max(1, side // 2)
        halves = self.sides(columns[:, :half].mean(1) - columns[:, side - half :].mean(1))
        return torch.cat([found + places, found.mean(1, keepdim=True), halves[:, None], small[:, None]], 1)

    def _spotted(self, spots: Tensor) -> Tensor:
        """Return one vector `(B, E)` of all spots: the greatest and the mean of what is read of each."""
        found = self.spot(((spots - self.fine_mean) / self.fine_std).clamp(-5, 5))
        found = found * spots.any(-1, keepdim=True)
        return self.fine(torch.cat([found.amax(1), found.mean(1)], 1))

    def _shown_cells(self, pictures: Pictures, count: int, small: bool) -> tuple[Tensor | None, Tensor]:
        """Return what the tower sees of the picture of each row, None without any, and which rows have one."""
        kinds = [m for m in pictures.images if bool(pictures.present[m].any())]
        shown = torch.stack([pictures.present[m] for m in kinds]).sum(0) if kinds else torch.zeros(count)
        if bool((shown > 1).any()):
            raise InvalidInput("this model looks at one picture; a conversation has several.", code="chat.images")
        cells: Tensor | None = None
        for kind in kinds:
            rows = pictures.present[kind]
            found = self.cells(pictures.images[kind][rows], small=small)
            cells = found.new_zeros(count, *found.shape[1:]) if cells is None else cells
            cells[rows] = found
        return cells, shown > 0

    def _seen(self, cells: Tensor | None, shown: Tensor) -> Tensor:
        empty = self.none.expand(len(shown), 1, -1)
        if cells is None:
            # As many rows as with a picture: none, and nothing small.
            return torch.cat([empty, empty], 1)
        return torch.where(shown[:, None, None], self.look(cells), empty)

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
        pictures = pictures_of(images, present, len(words.ids))
        return self._logits(words, self._seen(*self._shown_cells(pictures, len(words.ids), True)))

    def answer_logits(self, cells: Tensor, words: Words) -> Tensor:
        """Return the same from cells kept from before, as training needs them."""
        return self._logits(words, self.look(cells))

    def _shown(self, ids: Tensor, seen: Tensor) -> Tensor:
        """Return what is seen by rows of ids `(B, T)`: what is small is shown to the question on retinopathy only.

        That question is learned from drawn eyes; to the others, learned from real ones too, it would show the camera.
        """
        return torch.cat([seen[:, :-1], seen[:, -1:] * self._asks_small(ids)[:, None, None]], 1)

    def _asks_small(self, ids: Tensor) -> Tensor:
        names = [self._tokenizer.convert_tokens_to_ids(n) for n in QUESTIONS["retinopathy"]]
        return torch.isin(ids, torch.tensor(names, device=ids.device)).any(1)

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
        pictures = pictures_of(images, present, len(messages))
        words = self.read(None, messages, answers=False)
        # Spots cost more than the rest and are shown to one question only.
        small = bool(self._asks_small(words.ids).any())
        cells, shown = self._shown_cells(pictures, len(messages), small)
        return self.answers_from(
            cells, messages, shown=shown, max_tokens=max_tokens, decoding=decoding, seed=seed, stop=stop, watch=watch
        )

    @torch.no_grad()
    def answers_from(
        self,
        cells: Tensor | None,
        messages: Sequence[Sequence[Turn]],
        *,
        shown: Tensor | None = None,
        max_tokens: int = 32,
        decoding: Decoding | None = None,
        seed: int = 0,
        stop: Sequence[str] = (),
        watch: Callable[[list[str]], None] | None = None,
    ) -> list[str]:
        """Return what `generate` does, from what `cells` returned of the pictures.

        Args:
            cells: Of each row; None where no row has a picture.
            messages: Turns per row; the last is of the user.
            shown: Which row has its picture; all without it.
            max_tokens: Most new tokens.
            decoding: How tokens are chosen; None takes the rule of the model.
            seed: Of the draws.
            stop: An answer ends before the first of these words.
            watch: Called after every token with the answers so far of the row that is being answered.
        """
        words = self.read(None, messages, answers=False)
        if shown is None:
            shown = torch.full((len(messages),), cells is not None)
        was = self.training
        self.eval()
        try:
            seen = self._seen(cells, shown)
            guides = self._guides(cells, shown, seen, messages)
            return self._answers(
                seen, words, guides, max_tokens=max_tokens, rule=decoding or self.decoding, seed=seed, stop=stop, watch=watch
            )  # fmt: skip
        finally:
            self.train(was)

    def _guides(
        self, cells: Tensor | None, shown: Tensor, seen: Tensor, messages: Sequence[Sequence[Turn]]
    ) -> dict[int, PhraseGuide]:
        """Return what holds the answers about photographs to the findings that the head decided on, by row."""
        if cells is None or not self.cuts:
            return {}
        asked = {_asked(question(k, lang)): (k, lang) for k in ("caption", "findings") for lang in LANGUAGES}
        rows = [
            i for i, turns in enumerate(messages) if len(turns) == 1 and _asked(turns[0].text) in asked and shown[i]
        ]
        if not rows:
            return {}
        photographs = self._are_photographs(seen[rows])
        decided = findings_of(self.head.chances(self.pooled(cells[rows])), self.cuts)
        guides = {}
        for i, is_photograph, keys in zip(rows, photographs, decided, strict=True):
            if is_photograph:
                kind, language = asked[_asked(messages[i][0].text)]
                guides[i] = PhraseGuide(self._tokenizer, keys, kind=kind, language=language)
        return guides

    def _are_photographs(self, seen: Tensor) -> list[bool]:
        ids = [self._tokenizer.start_token_id, *self._tokenizer(question("modality"))["input_ids"]]
        asked = torch.tensor([ids], device=seen.device).expand(len(seen), -1)
        said = self.decoder(asked, self._shown(asked, seen))[:, -1].argmax(1)
        return (said == self._tokenizer.convert_tokens_to_ids(MODALITIES["cfp"][0])).tolist()

    def _answers(
        self, seen: Tensor, words: Words, guides: Mapping[int, PhraseGuide], *, max_tokens: int, rule: Decoding, seed: int,
        stop: Sequence[str], watch: Callable[[list[str]], None] | None,
    ) -> list[str]:  # fmt: skip
        generator = torch.Generator().manual_seed(seed)
        banned = [self._tokenizer.pad_token_id, self._tokenizer.start_token_id, self._tokenizer.unk_token_id]
        answers = []
        for row in range(len(seen)):
            prompt = words.ids[row][words.mask[row]].tolist()

            def step(ids: Tensor, row: int = row, begun: int = len(prompt)) -> Tensor:
                one = self._shown(ids[:1].to(seen.device), seen[row : row + 1]).expand(len(ids), -1, -1)
                logits = self.decoder(ids.to(seen.device), one)[:, -1].float().cpu()
                if row in guides:
                    allowed = torch.stack([guides[row].allowed(said[begun:]) for said in ids.tolist()])
                    logits = logits.masked_fill(~allowed, -torch.inf)
                return logits

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


def _asked(text: str) -> str:
    return text.strip().lower().rstrip("?？")


def _said(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    found = [text.index(s) for s in stop if s in text]
    return (text[: min(found)], True) if found else (text, False)


_INPUT = ImageInput(size=448, mean=(0.42, 0.28, 0.20), std=(0.25, 0.20, 0.17))
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
        tower, WordTokenizer(WORDS), embed_dim=embed_dim, depth=depth, num_heads=4, view=224, spots=40, limit=48,
        dropout=dropout,
    )  # fmt: skip
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
    model = Captioner(tower, WordTokenizer(WORDS), embed_dim=16, depth=1, num_heads=2, view=64, spots=6, limit=48)
    return model if weights is None else _loaded(model, weights)
