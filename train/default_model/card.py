"""The model card of the default bundle: written from what was measured, never by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from train.default_model.judge import PARTS, in_words, table
from train.models.compact import pretrained

LICENCE = (
    "Trained on FER+: the votes are published under the MIT licence (Barsoum et al., ICMI 2016); the images of FER2013 "
    "were collected from the web, and no licence grant for them was found. No image is part of this bundle."
)

_MEASURED = "## Measured"


def _interval(value: tuple[float, float, float]) -> str:
    return f"{value[0]:.1f} [{value[1]:.1f}, {value[2]:.1f}]"


def licences(lineage: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a model was made from and under which terms, a sentence each.

    Args:
        lineage: Of its encoder, see :func:`train.default_model.weights.lineage`.
    """
    taught = any(row["kind"].startswith("pre-trained") for row in lineage)
    return [LICENCE, *([pretrained.LICENCE] if taught else [])]


def _line(row: Mapping[str, Any]) -> str:
    """How one run or mean of the encoder's lineage came to be."""
    begin = f"- {row['name']} ({row['kind']}{', from ' + row['start'] if row['start'] else ''})"
    if "mean" in row:
        return f"{begin}: " + " + ".join(f"{share:g} {name}" for name, share in row["mean"].items())
    names, share = row["teachers"], row["taught"]
    targets = f"{1 - share:.0%} votes, {share:.0%} the mean answer of {', '.join(names)} to the very crop"
    return (
        f"{begin}: {row['epochs']} epochs ({row['minutes']:.0f} minutes on {row['processes']} processes), "
        f"{row['blocks']} blocks, dropout {row['dropout']}, targets: {targets if names else 'votes'}; {row['settings']}"
    )


def write_card(labels: tuple[str, ...], provenance: dict[str, Any], metrics: dict[str, Any]) -> str:
    """Markdown of the card.

    Args:
        labels: Class names in the order of the logits.
        provenance: Of the bundle.
        metrics: Of the bundle: ``dev`` with ``war``, ``uar``, ``n`` and ``confusion``, ``composed`` and ``crop_ms``.

    Returns:
        The card.
    """
    config = provenance["encoder"]["config"]
    lines = [
        "# Compact TG-DFER: the default model",
        "",
        f"A residual encoder ({provenance['encoder_parameters'] / 1e6:.2f} M parameters) over grey aligned crops and "
        f"the window head of TG-DFER ({provenance['head_parameters'] / 1e6:.2f} M) with learned label embeddings in "
        "place of text. Scores one window of 16 samples at 8 Hz; `now` scores the newest sample.",
        "",
        "## Use",
        "",
        "Reads the expression that a face shows, as people would name it from a picture; it does not read what someone "
        "feels. Not for decisions about people. Whom the training faces show, by age, sex or skin, was never counted: "
        "measure on your own people before use.",
        "",
        "## Training",
        "",
        *(f"- {line}" for line in licences(provenance["lineage"])),
        f"- Data SHA-256 (archive and table): `{provenance['data_sha256']}`",
        f"- Seeds: encoder {config['loop.seed']}, head {provenance['head']['seed']}",
        "- Runs of the encoder and of its teachers, the last of them shipped:",
        *(f"  {_line(row)}" for row in provenance["lineage"]),
        f"- Head: {provenance['head']['steps']} steps on composed clips over frozen features; the known frame truth of "
        "composed clips serves two auxiliary losses",
        "- Disgust and fear are rare (148 and 574 of 25,752): stills are sampled by the power "
        f"{config['stills.rare']} of the rarity of the classes that their votes and, with weight "
        f"{config['stills.original']}, FER2013's original label name; the targets are not touched. The logits "
        "of the rare classes are raised towards half an even share of the votes by the power "
        f"{provenance.get('raise_rare', 0)}, the common ones evened out by {provenance.get('even_out', 0)}: "
        "both chosen on dev",
        f"- Candidates compared on `dev`: {provenance['candidates']}",
        "- Repeat: `dfer-train default-model --data <folder with FER+> --pretrained <folder of the teacher's start>`",
        "",
    ]
    return "\n".join(lines) + measured(labels, metrics)


def measured_again(card: str, labels: tuple[str, ...], metrics: Mapping[str, Any]) -> str:
    """A card that keeps what it says of use and training, with these figures; `metrics` as of :func:`measured`."""
    return card.partition("\n" + _MEASURED)[0] + measured(labels, metrics)


def measured(labels: tuple[str, ...], metrics: Mapping[str, Any]) -> str:
    """The card's figures.

    Args:
        labels: Class names in the order of the logits.
        metrics: As of :func:`write_card`; after the choice also ``parts``, clean faces by part of the protocol, and
            ``probes``, both as :mod:`train.default_model.judge` gives them.
    """
    dev = metrics["dev"]
    lines = [
        "",
        _MEASURED,
        "",
        *_by_protocol(metrics),
        f"FER+ dev (first of cluster, strict plurality, n = {dev['n']}), each face a still repeated through the "
        "exported graphs, one argmax; 95 % bootstrap intervals. Candidates were compared on these faces:",
        "",
        f"- WAR {_interval(dev['war'])}, UAR {_interval(dev['uar'])}",
        f"- {metrics['crop_ms']:.2f} ms per crop on one thread where it was measured ({metrics['crop_ms_where']})",
        "",
        "| true \\ answer | " + " | ".join(labels) + " | recall |",
        "|---" * (len(labels) + 2) + "|",
    ]
    for name, row in zip(labels, dev["confusion"], strict=True):
        recall = 100 * row[labels.index(name)] / max(sum(row), 1)
        lines.append(f"| {name} ({sum(row)}) | " + " | ".join(str(v) for v in row) + f" | {recall:.1f} |")
    return "\n".join([*lines, *(_composed(metrics["composed"]) if metrics["composed"] else [])]) + "\n"


def _composed(rows: Mapping[str, Any]) -> list[str]:
    """The window head beside the mean of frames."""
    lines = [
        "",
        "Clips composed from dev stills (synthetic): UAR in percent of the window head, of the mean of per-frame "
        "logits (a perceptron of as many parameters on the same features, clips and steps) and of the latter over true "
        "frames only; gain with its face-paired 95 % interval; AUROC per clip of relevance to the predicted class:",
        "",
        "| noise frames | head | mean | oracle | gain | AUROC of the head | of the mean's frames |",
        "|---|---|---|---|---|---|---|",
    ]
    for share, row in rows.items():
        tail = [f"{row[k]:.3f}" if k in row else "–" for k in ("auroc", "auroc_mean")]
        head = [f"{row[k]:.1f}" for k in ("head", "mean", "oracle")] + [_interval(row["gain"])]
        lines.append(f"| {float(share):.0%} | " + " | ".join(head + tail) + " |")
    return lines


def _by_protocol(metrics: Mapping[str, Any]) -> list[str]:
    """What was measured after the choice, if it was: each part's figures, and the probes."""
    if "parts" not in metrics:
        return []
    lines = ["Faces as they are, calibrated, by the parts of the protocol (`dfer-train probes`):", ""]
    for part, row in metrics["parts"].items():
        lines += [f"- **{part}**: {PARTS[part]}", *(f"  {line}" for line in in_words(row))]
    probes = metrics["probes"]
    return [
        *lines,
        "",
        f"The same under each probe, {probes['clean']['n']} faces of confirm, landmarks looked for in the changed "
        "picture; votes is the share for the named class, shown what the threshold lets through:",
        "",
        *table(probes),
        "",
    ]
