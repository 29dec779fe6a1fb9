"""Lines of text files that only one set has: CTW1500's curves, MSRA-TD500's turned rectangles."""

from __future__ import annotations

from mmtextplug.datasets.word_lines import LineError, is_number, parse_polygon, rotated_box

_CTW_FORM = "x1,y1,...,x14,y14,####text or x1,y1,...,x14,y14,text"
_CTW_COUNT = 28
_TD_FORMS = (
    "index difficult x y width height angle; x1,y1,...,x4,y4,difficult; or "
    "left,top,right,bottom,angle,text"
)


def parse_ctw1500(line: str) -> tuple[list[float], str | None]:
    """CTW1500: ``x1,y1,...,x14,y14,####text``, or ``text`` without the signs.

    Its first edition, ``left,top,right,bottom`` and 14 offsets from the left top corner, has no
    texts.

    Raises:
        LineError: If the line is none of this kind.
    """
    head, mark, text = line.partition(",####")
    fields = head.split(",")
    if mark:
        if len(fields) % 2 or len(fields) < 6 or not all(map(is_number, fields)):
            raise LineError(f"does not fit {_CTW_FORM}", "correct the line")
        return [float(value) for value in fields], text.strip()
    if len(fields) == 4 + _CTW_COUNT and all(map(is_number, fields)):
        left, top, _, _, *offsets = map(float, fields)
        return [value + (top if i % 2 else left) for i, value in enumerate(offsets)], None
    if len(fields) > _CTW_COUNT and all(map(is_number, fields[:_CTW_COUNT])):
        outline = [float(value) for value in fields[:_CTW_COUNT]]
        return outline, ",".join(fields[_CTW_COUNT:]).strip()
    try:
        return parse_polygon(line)
    except LineError as error:
        raise LineError(f"does not fit {_CTW_FORM}", error.remedy) from None


def parse_msra_td500(line: str) -> tuple[list[float], None, bool]:
    """MSRA-TD500 and HUST-TR400: a line of text, without its transcription.

    The owners' ``index difficult x y width height angle``: a rectangle that is then turned about
    its centre, by radians, clockwise on the screen where positive. The same as ``left,top,right,
    bottom,angle,text`` and, as other networks' authors pass the sets on, four corners and 1 for
    difficult.

    Returns:
        tuple[list[float], None, bool]: Corners, no text, and whether the line is difficult, which
        the benchmark leaves out of account.

    Raises:
        LineError: If the line is none of this kind.
    """
    fields = line.split(",") if "," in line else line.split()
    if "," not in line and len(fields) == 7 and all(map(is_number, fields)):
        _, difficult, x, y, width, height, angle = map(float, fields)
        return _turned(x, y, x + width, y + height, angle), None, difficult != 0
    if len(fields) == 9 and all(map(is_number, fields)):
        return [float(value) for value in fields[:8]], None, float(fields[8]) != 0
    if "," in line and len(fields) >= 6 and all(map(is_number, fields[:5])):
        return _turned(*map(float, fields[:5])), None, fields[5].strip() == "###"
    raise LineError(f"does not fit {_TD_FORMS}", "correct the line")


def _turned(*box: float) -> list[float]:
    """8 numbers of a `rotated_box`, to a thousandth of a pixel."""
    return rotated_box(*box).round(3).ravel().tolist()
