"""A recording as ELAN annotations (.eaf, format 3.0): a tier for each face, a label for as long as it held."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from stream.recording.export.observations import Observations

GAP_S = 0.5
"""A face unseen for longer than this ends its annotation."""
_SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
_EPOCH = "1970-01-01T00:00:00+00:00"


@dataclass
class _Span:
    label: str
    begin_s: float
    end_s: float


def write_eaf(observations: Observations, out: Path, media: Path | None = None) -> int:
    """Write an ELAN file.

    Args:
        observations: Of a recording.
        out: Where to.
        media: The video that begins with the recording's first frame, to be opened beside it.

    Returns:
        How many annotations it has.
    """
    tiers: dict[str, list[_Span]] = {}
    open_spans: dict[str, _Span] = {}
    for each in observations:
        for face in each.faces:
            name = f"{each.source} {face.id}"
            span = open_spans.get(name)
            if span is not None and each.t_s - span.end_s <= GAP_S:
                span.end_s = each.t_s  # until the next message it held
            if span is None or span.label != face.label or each.t_s - span.end_s > GAP_S:
                open_spans.pop(name, None)
                if face.label is not None:
                    open_spans[name] = _Span(face.label, each.t_s, each.t_s)
                    tiers.setdefault(name, []).append(open_spans[name])
    kept = {name: [span for span in spans if _ms(span.end_s) > _ms(span.begin_s)] for name, spans in tiers.items()}
    ElementTree.ElementTree(_document(kept, media)).write(out, "utf-8", xml_declaration=True)
    return sum(map(len, kept.values()))


def _document(tiers: dict[str, list[_Span]], media: Path | None) -> ElementTree.Element:
    root = ElementTree.Element(
        "ANNOTATION_DOCUMENT",
        {
            "AUTHOR": "dferstream",
            "DATE": _EPOCH,
            "FORMAT": "3.0",
            "VERSION": "3.0",
            "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
            "xsi:noNamespaceSchemaLocation": _SCHEMA,
        },
    )
    header = ElementTree.SubElement(root, "HEADER", {"MEDIA_FILE": "", "TIME_UNITS": "milliseconds"})
    if media is not None:
        link = {"MEDIA_URL": media.absolute().as_uri(), "MIME_TYPE": f"video/{media.suffix[1:] or 'mp4'}"}
        ElementTree.SubElement(header, "MEDIA_DESCRIPTOR", {**link, "RELATIVE_MEDIA_URL": f"./{media.name}"})
    times = sorted({_ms(t_s) for spans in tiers.values() for span in spans for t_s in (span.begin_s, span.end_s)})
    slots = {ms: f"ts{number}" for number, ms in enumerate(times, 1)}
    order = ElementTree.SubElement(root, "TIME_ORDER")
    for ms, slot in slots.items():
        ElementTree.SubElement(order, "TIME_SLOT", {"TIME_SLOT_ID": slot, "TIME_VALUE": str(ms)})
    number = 0
    for name, spans in tiers.items():
        tier = ElementTree.SubElement(root, "TIER", {"TIER_ID": name, "LINGUISTIC_TYPE_REF": "expression"})
        for span in spans:
            number += 1
            where = {
                "ANNOTATION_ID": f"a{number}",
                "TIME_SLOT_REF1": slots[_ms(span.begin_s)],
                "TIME_SLOT_REF2": slots[_ms(span.end_s)],
            }
            held = ElementTree.SubElement(ElementTree.SubElement(tier, "ANNOTATION"), "ALIGNABLE_ANNOTATION", where)
            ElementTree.SubElement(held, "ANNOTATION_VALUE").text = span.label
    kind = {"LINGUISTIC_TYPE_ID": "expression", "TIME_ALIGNABLE": "true", "GRAPHIC_REFERENCES": "false"}
    ElementTree.SubElement(root, "LINGUISTIC_TYPE", kind)
    return root


def _ms(t_s: float) -> int:
    return round(t_s * 1000)
