"""Bytes of a table -> text. An encoding is certain, or it is asked for: a wrong guess would change names and findings silently."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TextIO

from ...core.errors import ReadError

#: Encodings that can be stated, with the codec that is strict about them.
ENCODINGS = {
    "utf-8": "utf-8-sig", "utf-8-sig": "utf-8-sig", "utf-16": "utf-16", "utf-16-le": "utf-16-le", "utf-16-be": "utf-16-be",
    "utf-32": "utf-32", "gb18030": "gb18030", "gbk": "gbk", "gb2312": "gb2312", "big5": "big5", "shift_jis": "shift_jis",
    "euc_kr": "euc_kr", "latin-1": "latin-1", "cp1252": "cp1252", "cp1251": "cp1251",
}  # fmt: skip
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
_BLOCK = 1 << 20

#: Characters that Chinese of clinics is full of. Bytes of another encoding that happen to decode as GB18030 give characters
#: spread over thousands; those of real Chinese gather here. None of them is the UTF-8 form of an accented Latin letter.
_FREQUENT = frozenset(
    "的一是不了在人有我他这个上们来到时大地为子中你说生国年着就那和要她出也得里后自以会家可下而过天去能对小多然于心学么"
    "之都好看起发当没成只如事把还用第样道想作种开美总从无情己面最女但现前些所同日手又行意动方期它头经长儿回位分爱老因很"
    "给名法间知世什两次使身者被高已亲其进此话常与活正感见明问力理尔点文几定本公特做外孩相西果走将月十实向声车全信重三机"
    "工物气每并别真打太新比才便夫再书部水像眼等体却加电主界门利海受听表德少克代员许先口由死安写性马光白或住难望教命花结"
    "乐色左右双患者姓性别龄男岁视网膜脉络黄斑区盘杯比血管动静出血渗硬软性变糖尿病肾糖化红蛋白压力屈光度球柱镜轴位角膜厚晶"
    "状体玻璃混浊青白内障裂孔脱离水肿新生棉絮微瘤未见正常异详描述诊断报告检查所见提示建议复查随访中心凹反射清晰边界色淡红"
    "颞鼻侧上下方象限周边部豹纹近视弧形萎缩斑片渗出物激光术后史高低收缩舒张重身高号码编号住院门诊就日期时间医生科室联系电话"
    "地址备注备用等级级轻中重度增殖非期阶段图像质量合格否是无明显阴阳单多发少量大片散在点状片状张王李刘陈杨赵黄周吴徐孙胡朱"
    "林何郭罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶阎余潘杜戴夏钟汪田任姜范石姚谭廖邹熊金陆郝孔白崔康"
    "毛邱秦江史顾侯邵孟龙万段雷钱汤尹黎易常武乔贺赖龚文伟芳娜敏静丽强磊军洋勇艳杰娟涛超秀霞平刚桂英华兰玉梅建国志明红"
) - frozenset(bytes((lead, trail)).decode("gb18030") for lead in (0xC2, 0xC3) for trail in range(0xA1, 0xC0))  # fmt: skip


@dataclass(slots=True)
class _Lines:
    """What the lines that are not plain ASCII are."""

    utf8: int = 0
    wide: int = 0
    first_wide: int = 0
    other: int = 0
    first_other: int = 0
    not_gb: int = 0
    hanzi: int = 0
    frequent: int = 0
    foreign: int = 0
    uncertain: bool = field(default=True)

    def add(self, line: bytes, number: int) -> None:
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            self.other += 1
            self.first_other = self.first_other or number
        else:
            self.utf8 += 1
            if any(c >= "\u0800" for c in text):
                self.wide += 1
                self.first_wide = self.first_wide or number
        try:
            chinese = line.decode("gb18030")
            same = chinese.encode("gb18030") == line
        except UnicodeDecodeError:
            same = False
        if not same:
            self.not_gb = self.not_gb or number
            self.uncertain = False
            return
        beyond = [c for c in chinese if c > "\x7f" and not _is_sign(c)]
        self.foreign += len(beyond)
        self.hanzi += sum("\u4e00" <= c <= "\u9fff" for c in beyond)
        common = sum(c in _FREQUENT for c in beyond)
        self.frequent += common
        self.uncertain &= common == len(beyond)

    @property
    def is_chinese(self) -> bool:
        """Whether the bytes read as GB18030 are Chinese beyond doubt."""
        if self.not_gb or not self.foreign:
            return False
        # A handful of characters proves something only when every one of them is frequent.
        share = 0.4 if self.foreign >= 8 else 1.0
        return self.hanzi >= 0.8 * self.foreign and self.frequent >= share * self.foreign


def _is_sign(char: str) -> bool:
    return "\u3000" <= char <= "\u303f" or "\uff00" <= char <= "\uffef" or char in "“”‘’—…·"


def detect_encoding(stream: IO[bytes], name: str, stated: str | None = None) -> str:
    """Return the codec of a stream of bytes; memory does not grow with it.

    Args:
        stream: Seekable bytes; left at an undefined position.
        name: File name for messages.
        stated: Encoding the user gave; it is checked, not believed.

    Raises:
        ReadError: `table.encoding`: uncertain, mixed, contradicted by the bytes, or with NUL.
    """
    stream.seek(0)
    head = stream.read(4)
    marked = next((codec for mark, codec in _MARKS if head.startswith(mark)), None)
    if stated is not None:
        word = stated.strip().lower()
        codec = next(
            (ENCODINGS[w] for w in (word, word.replace("_", "-"), word.replace("-", "_")) if w in ENCODINGS), None
        )
        if codec is None:
            raise _error(f"the encoding {stated!r} is not known.", f"Use one of {', '.join(ENCODINGS)}.")
        if marked is not None and not codec.startswith(marked):
            raise _error(
                f"{name!r} was said to be {stated} but begins with the mark of {marked}.", "Leave the encoding out."
            )
        _check_round_trip(stream, name, codec)
        if codec in ("latin-1", "cp1252", "cp1251"):
            _check_not_utf8(stream, name, stated)
        return codec
    if marked in ("utf-16", "utf-32"):
        _check_round_trip(stream, name, marked)
        return marked
    return _detect_unmarked(stream, name, marked)


def _detect_unmarked(stream: IO[bytes], name: str, marked: str | None) -> str:
    lines = _Lines()
    stream.seek(0)
    for number, line in enumerate(stream, 1):
        if b"\0" in line:
            if marked is None and number == 1:
                return _utf16_without_mark(stream, name)
            raise _error(
                f"line {number} of {name!r} holds NUL bytes.",
                "They cut a cell short in other programs. Remove them, or save the table as UTF-8.",
            )
        if not line.isascii():
            lines.add(line.removeprefix(codecs.BOM_UTF8) if number == 1 else line, number)
    if not lines.other:
        if marked is None and lines.utf8 and not lines.wide and lines.uncertain and lines.hanzi:
            raise _error(
                f"{name!r} is valid as UTF-8 and as GB18030, with different characters.",
                'State it: encoding = "utf-8" or encoding = "gb18030".',
            )
        return "utf-8-sig"
    if lines.wide or marked:
        raise _error(
            f"{name!r} mixes encodings: line {lines.first_wide or 1} is UTF-8, line {lines.first_other} is not.",
            "Save all of it in one encoding.",
        )
    if lines.is_chinese:
        return "gb18030"
    line = lines.not_gb or lines.first_other
    raise _error(
        f"the encoding of {name!r} is not certain (line {line} is not UTF-8).",
        'State it, for example encoding = "latin-1" or encoding = "gb18030", or save it as UTF-8 (in Excel: CSV UTF-8).',
    )


def _utf16_without_mark(stream: IO[bytes], name: str) -> str:
    """Accept UTF-16 without its mark when one byte order gives lines of ASCII and the other gives none at all."""
    stream.seek(0)
    sample = stream.read(_BLOCK)[: _BLOCK & ~1]
    even, odd = sample[0::2], sample[1::2]
    for codec, high, low in (("utf-16-le", odd, even), ("utf-16-be", even, odd)):
        units = [(h, c) for h, c in zip(high, low, strict=False)]
        plain = sum(h == 0 and 9 <= c < 127 for h, c in units)
        swapped = sum(c == 0 and 9 <= h < 127 for h, c in units)
        if plain >= 8 and not swapped and (0, 10) in units and 0 not in low:
            _check_round_trip(stream, name, codec)
            return codec
    raise _error(f"{name!r} holds NUL bytes.", 'Save it as UTF-8, or state encoding = "utf-16-le" or "utf-16-be".')


def _check_round_trip(stream: IO[bytes], name: str, codec: str) -> None:
    """Refuse bytes that do not decode, or that the text does not give back."""
    stream.seek(0)
    ordered = _ordered(stream.read(4), codec)
    decoder = codecs.getincrementaldecoder(ordered)("strict")
    encoder = codecs.getincrementalencoder(ordered)("strict")
    stream.seek(0)
    before, after = bytearray(), bytearray()
    position = 0
    while True:
        block = stream.read(_BLOCK)
        try:
            text = decoder.decode(block, final=not block)
            after += encoder.encode(text, final=not block)
        except UnicodeError as error:
            raise _error(
                f"{name!r} is not {codec}: {error}.", "State the right encoding, or save it as UTF-8."
            ) from error
        before += block
        shared = min(len(before), len(after))
        if before[:shared] != after[:shared] or "\0" in text:
            raise _error(
                f"{name!r} read as {codec} does not give the same bytes back (near byte {position}).",
                "State the right encoding, or save it as UTF-8.",
            )
        del before[:shared], after[:shared]
        position += len(block)
        if not block:
            return


def _ordered(head: bytes, codec: str) -> str:
    """Return the codec that keeps the mark of a file as a character, so that the text gives all bytes back."""
    if codec in ("utf-16", "utf-32"):
        big = head.startswith((codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE))
        return f"{codec}-{'be' if big else 'le'}"
    return "utf-8" if codec == "utf-8-sig" else codec


def _check_not_utf8(stream: IO[bytes], name: str, stated: str) -> None:
    stream.seek(0)
    found = 0
    for line in stream:
        if line.isascii():
            continue
        try:
            line.decode("utf-8")
        except UnicodeDecodeError:
            return
        found += 1
    if found:
        raise _error(
            f"{name!r} was said to be {stated}, but each of its {found} lines beyond ASCII is valid UTF-8.",
            'As latin-1 its letters would turn into others. Use encoding = "utf-8".',
        )


def decode_text(data: bytes, name: str, encoding: str | None = None) -> str:
    """Return the text of bytes whose encoding is certain or stated.

    Raises:
        ReadError: `table.encoding`.

    Example:
        >>> decode_text("视网膜".encode("gb18030"), "t.csv"), decode_text(b"Gr\\xf6\\xdfe", "t.csv", "latin-1")
        ('视网膜', 'Größe')
    """
    return data.decode(detect_encoding(io.BytesIO(data), name, encoding))


def open_text(path: Path, encoding: str | None = None) -> tuple[TextIO, str]:
    """Return a text stream over a file and the codec it was found to be in. The stream keeps line ends as they are."""
    with open(path, "rb") as stream:
        codec = detect_encoding(stream, path.name, encoding)
    return open(path, encoding=codec, errors="strict", newline=""), codec


def text_lines(stream: TextIO) -> Iterator[str]:
    """Yield the lines of a stream; it is closed at the end."""
    with stream:
        yield from stream


def _error(message: str, hint: str) -> ReadError:
    return ReadError(message, code="table.encoding", hint=hint)
