"""All findings of a file: looking them up, their texts, prompts, draws for training."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..core.errors import InvalidInput, UnknownName
from .findings import LANGUAGES, Finding, LabelSet
from .reading import Content, read_content
from .text import checked_text, normal_name

SHIPPED = Path(__file__).with_name("findings.toml")
Wanted = str | Finding


class Knowledge:
    """Findings by identifier, name, synonym or abbreviation in any language.

    Nothing in it changes after it was read: asking for prompts leaves no trace in the next answer.

    Example:
        >>> known = Knowledge.read()
        >>> known.find("软性渗出").id, known.find("ERM").id, known.find("Macular Edema").id
        ('cotton_wool_spot', 'epiretinal_membrane', 'macular_oedema')
        >>> known.prompts("BRVO")[0]
        'A fundus photograph of branch retinal vein occlusion'
    """

    __slots__ = ("_abbreviations", "_content", "_names")

    def __init__(self, content: Content) -> None:
        self._content = content
        names: dict[str, list[str]] = {}
        short: dict[str, list[str]] = {}
        for finding in content.findings.values():
            for language in LANGUAGES:
                for name in (*finding.names(language), *finding.name.values(), finding.id):
                    _add(names, normal_name(name), finding.id)
            for name in finding.abbreviations:
                _add(short, name, finding.id)
                _add(short, name.casefold(), finding.id)
        self._names, self._abbreviations = names, short

    @classmethod
    def read(cls, path: str | Path | None = None) -> Knowledge:
        """Return the knowledge of a file; None is the one inside the package.

        Args:
            path: TOML as `fundusion knowledge --copy` writes it, or JSON of definitions as FLAIR publishes it.

        Raises:
            ReadError: No such file, or not TOML or JSON.
            InvalidInput: What it says cannot be used: the finding, the entry and what is wrong.
        """
        content = read_content(SHIPPED if path is None else Path(path), shipped=SHIPPED)
        return cls(content)

    @property
    def findings(self) -> Mapping[str, Finding]:
        """Identifier to finding, in the order of the file."""
        return self._content.findings

    @property
    def sets(self) -> Mapping[str, LabelSet]:
        """Name to set of labels."""
        return self._content.sets

    @property
    def sources(self) -> Mapping[str, str]:
        """Key to what is cited."""
        return self._content.sources

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings.values())

    def __len__(self) -> int:
        return len(self.findings)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and len(self._candidates(name)) == 1

    def find(self, name: Wanted) -> Finding:
        """Return the finding of an identifier, name, synonym or abbreviation in any language.

        Raises:
            UnknownName: `knowledge.unknown`, with the closest names.
            InvalidInput: `knowledge.ambiguous`: an abbreviation of several findings, such as MH.
        """
        if isinstance(name, Finding):
            return name
        found = self._candidates(name)
        if len(found) == 1:
            return self.findings[found[0]]
        if found:
            raise InvalidInput(
                f"{name!r} means several findings: {', '.join(found)}.",
                code="knowledge.ambiguous",
                hint="Write one of these.",
            )
        close = self.close_to(name)
        raise UnknownName(
            f"no finding is called {name[:80]!r}.",
            code="knowledge.unknown",
            hint=(f"Did you mean {', '.join(close)}? " if close else "") + "`fundusion knowledge` lists all.",
        )

    def close_to(self, name: str) -> list[str]:
        """Return names that are nearly the same."""
        return difflib.get_close_matches(normal_name(name[:200]), self._names, n=3, cutoff=0.7)

    def set_of(self, name: str) -> LabelSet:
        """Return a set of labels.

        Raises:
            UnknownName: With the sets there are.
        """
        if name in self.sets:
            return self.sets[name]
        raise UnknownName(
            f"no set of labels is called {name!r}.",
            code="knowledge.unknown_set",
            hint=f"Known: {', '.join(self.sets) or 'none'}.",
        )

    def ancestors(self, finding: Wanted) -> tuple[str, ...]:
        """Return the identifiers of all wider findings, nearest first.

        Example:
            >>> Knowledge.read().ancestors("mild NPDR")
            ('nonproliferative_diabetic_retinopathy', 'diabetic_retinopathy')
        """
        wider = list(self.find(finding).parents)
        for name in wider:
            wider += [p for p in self.findings[name].parents if p not in wider]
        return tuple(wider)

    def texts(self, finding: Wanted, *, language: str = "en", kind: str = "prompt") -> tuple[str, ...]:
        """Return texts on a finding.

        Args:
            finding: Or any of its names.
            language: "en" or "zh".
            kind: "names" (name and synonyms), "definitions", or "prompt": the definitions and the name, what is averaged for a class.

        Raises:
            InvalidInput: Unknown language or kind, or the finding has nothing in that language (`knowledge.language`).
        """
        chosen = self.find(finding)
        definitions = chosen.definitions.get(language, ())
        if kind == "names":
            found = chosen.names(language)
        elif kind == "definitions":
            found = definitions
        elif kind == "prompt":
            own = (chosen.name[language],) if chosen.name_in_prompt and language in chosen.name else ()
            found = (*own, *definitions)
        else:
            raise InvalidInput(f"kind {kind!r} is not 'names', 'definitions' or 'prompt'.", code="config.texts")
        if not found:
            raise InvalidInput(
                f"{chosen.id!r} has no {kind} in {language!r}.",
                code="knowledge.language",
                hint=f"It has {', '.join(chosen.name)}; add lines to your own file.",
            )
        return found

    def templates(self, name: str = "cfp", *, language: str = "en") -> tuple[str, ...]:
        """Return sentences with a place for a finding: of a modality, or "training".

        Raises:
            UnknownName: No templates of that name in that language.
        """
        found = self._content.templates.get(name, {}).get(language)
        if found:
            return found
        raise UnknownName(
            f"no templates {name!r} in {language!r}.",
            code="knowledge.template",
            hint=f"Known: {', '.join(self._content.templates) or 'none'}.",
        )

    def prompts(
        self,
        finding: Wanted,
        *,
        language: str = "en",
        kind: str = "prompt",
        template: str | Sequence[str] = "cfp",
        attribute: str = "",
    ) -> tuple[str, ...]:
        """Return every text of a finding in every template: what is averaged into the vector of a class.

        Args:
            finding: Or any of its names.
            language: "en" or "zh".
            kind: As in `texts`.
            template: Name of templates, or sentences with {finding}.
            attribute: Goes into {attribute}, for instance "noisy".
        """
        sentences = self.templates(template, language=language) if isinstance(template, str) else tuple(template)
        texts = self.texts(finding, language=language, kind=kind)
        return tuple(fill(s, t, attribute=attribute) for t in texts for s in sentences)

    def texts_by_name(self, *, language: str = "en") -> dict[str, tuple[str, ...]]:
        """Return the name of each finding with everything else that is said for it: synonyms and definitions.

        Example:
            >>> Knowledge.read().texts_by_name()["drusen"][0]
            'soft drusen'
        """
        return {
            f.name[language]: (*f.synonyms.get(language, ()), *f.definitions.get(language, ()))
            for f in self
            if language in f.name
        }

    def sample(
        self,
        findings: Wanted | Sequence[Wanted],
        generator: np.random.Generator,
        *,
        languages: Sequence[str] = ("en",),
        template: str | Sequence[str] | None = "training",
        attributes: Sequence[str] = (),
    ) -> str:
        """Return one text for one training step: a finding of the image, then one of its texts, each with equal chance.

        Args:
            findings: Of the image.
            generator: Gives the draws; nothing else is remembered.
            languages: Of which one is drawn.
            template: As in `prompts`; None gives the bare text.
            attributes: Of the image, of which one is drawn.

        Raises:
            InvalidInput: No finding.

        Source:
            Silva-Rodriguez et al. 2023, FLAIR, arXiv:2308.07898: category, then one of its name and definitions, uniformly.
        """
        listed = [findings] if isinstance(findings, str | Finding) else list(findings)
        if not listed or not languages:
            raise InvalidInput("there is no finding to draw from.", code="knowledge.empty")
        chosen = self.find(listed[int(generator.integers(len(listed)))])
        language = languages[int(generator.integers(len(languages)))]
        texts = self.texts(chosen, language=language)
        text = texts[int(generator.integers(len(texts)))]
        attribute = attributes[int(generator.integers(len(attributes)))] if attributes else ""
        if template is None:
            return text
        sentences = self.templates(template, language=language) if isinstance(template, str) else tuple(template)
        return fill(sentences[int(generator.integers(len(sentences)))], text, attribute=attribute)

    def _candidates(self, name: str) -> list[str]:
        if name in self.findings:
            return [name]
        return (
            self._names.get(normal_name(name[:200]))
            or self._abbreviations.get(name.strip())
            or self._abbreviations.get(name.strip().casefold())
            or []
        )


def fill(template: str, finding: str, *, attribute: str = "") -> str:
    """Return a sentence with a finding in it; an attribute that is left out leaves no gap.

    Raises:
        InvalidInput: The template has no {finding} (`config.template`).

    Example:
        >>> fill("A {attribute} fundus photograph of {finding}", "drusen"), fill("{finding}", "drusen {x}")
        ('A fundus photograph of drusen', 'drusen {x}')
    """
    if "{finding}" not in template:
        raise InvalidInput(
            f"template {template!r} has no place for the finding.",
            code="config.template",
            hint="Write {finding} where it goes.",
        )
    made = checked_text(template, what="a template").replace("{attribute}", attribute)
    # Spaces are tidied before the finding is put in: its own text stays as it is.
    return " ".join(made.split()).replace("{finding}", finding)


def _add(table: dict[str, list[str]], key: str, value: str) -> None:
    entries = table.setdefault(key, [])
    if value not in entries:
        entries.append(value)
