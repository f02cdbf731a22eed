"""The model card of the default bundle: written from what was measured, never by hand."""

from __future__ import annotations

from typing import Any

from train.models.compact import pretrained

LICENCE = (
    "Trained on FER+: the votes are published under the MIT licence (Barsoum et al., ICMI 2016); the images of FER2013 "
    "were collected from the web, and no licence grant for them was found. No image is part of this bundle."
)


def _interval(value: tuple[float, float, float]) -> str:
    return f"{value[0]:.1f} [{value[1]:.1f}, {value[2]:.1f}]"


def _first(fit: dict[str, Any]) -> dict[str, Any]:
    """The run that everything after it went on from."""
    return _first(fit["start"]) if "start" in fit else fit


def _teachers(fit: dict[str, Any]) -> list[dict[str, Any]]:
    """Teachers of a run and of those it went on from that are no earlier state of the model itself."""
    known = _teachers(fit["start"]) if "start" in fit else []
    for one in fit.get("teachers", ()):
        if "pretrained" in _first(one) and one not in known:
            known.append(one)
    return known


def licences(fit: dict[str, Any]) -> list[str]:
    """What a model was made from and under which terms, a sentence each.

    Args:
        fit: The record of its encoder's last run.
    """
    return [LICENCE, *([pretrained.LICENCE] if _teachers(fit) else [])]


def _runs(fit: dict[str, Any], name: str = "Encoder:") -> list[str]:
    """A line for each run of an encoder, the first one first."""
    first = _runs(fit["start"], name) if "start" in fit else []
    if "blend" in fit:
        first.append(f"- then weights {fit['blend']} of the way from there to the end of the next run")
    share = fit["config"].get("teacher", 0) if fit.get("teachers") else 0
    names = [one["name"] for one in fit.get("teachers", ())]
    teachers = " and ".join([", ".join(names[:-1]), *names[-1:]] if len(names) > 1 else names)
    targets = f"{1 - share:.0%} votes, {share:.0%} the mean answer of {teachers} to the very crop" if share else "votes"
    minutes = f"{fit['spent_s'] / 60:.0f} minutes on {fit['world']} processes"
    blocks = f"{fit['shape'].get('depths') or len(fit['shape']['widths'])} blocks, dropout {fit['shape']['dropout']}"
    return [
        *first, f"- {'then' if first else name} {fit['epoch']} epochs ({minutes}), {blocks}, targets: {targets}; "
        f"settings {fit['config']}",
        *_ends(fit),
    ]  # fmt: skip


def _ends(fit: dict[str, Any]) -> list[str]:
    """A line on the mean of the last runs' ends, where that is what was taken."""
    shares = ", ".join(f"{share:g}" for share in fit.get("ends", ()))
    return (
        [f"- then the mean of the weights in which the last {len(fit['ends'])} runs ended: {shares}"] if shares else []
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
    dev, fit = metrics["dev"], provenance["encoder"]
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
        *(f"- {line}" for line in licences(fit)),
        f"- Data SHA-256 (archive and table): `{provenance['data_sha256']}`",
        f"- Seeds: encoder {fit['config']['seed']}, head {provenance['head']['seed']}",
        *(line for teacher in _teachers(fit) for line in _runs(teacher, "Teacher:")),
        *_runs(fit),
        f"- Head: {provenance['head']['steps']} steps on composed clips over frozen features; the known frame truth of "
        "composed clips serves two auxiliary losses",
        "- Disgust and fear are rare (148 and 574 of 25,752): stills are sampled by the power "
        f"{fit['config']['rare']} of the rarity of the classes that their votes and, with weight "
        f"{fit['config'].get('original', 0)}, FER2013's original label name; the targets are not touched. The logits "
        "of the rare classes are raised towards half an even share of the votes by the power "
        f"{provenance.get('raise_rare', 0)}, the common ones evened out by {provenance.get('even_out', 0)}: "
        "both chosen on dev",
        f"- Candidates compared on `dev`: {provenance['candidates']}",
        "- Repeat: `python -m train.default_model --data <folder with FER+> --pretrained <folder of the teacher's "
        "start>`",
        "",
        "## Measured",
        "",
        f"FER+ dev (first of cluster, strict plurality, n = {dev['n']}), each face a still repeated through the "
        "exported graphs, one argmax; 95 % bootstrap intervals:",
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
    lines += [
        "",
        "Clips composed from dev stills (synthetic): UAR in percent of the window head, of the mean of per-frame "
        "logits (a perceptron of as many parameters on the same features, clips and steps) and of the latter over true "
        "frames only; gain with its face-paired 95 % interval; AUROC per clip of relevance to the predicted class:",
        "",
        "| noise frames | head | mean | oracle | gain | AUROC of the head | of the mean's frames |",
        "|---|---|---|---|---|---|---|",
    ]
    for share, row in metrics["composed"].items():
        tail = [f"{row[k]:.3f}" if k in row else "–" for k in ("auroc", "auroc_mean")]
        head = [f"{row[k]:.1f}" for k in ("head", "mean", "oracle")] + [_interval(row["gain"])]
        lines.append(f"| {float(share):.0%} | " + " | ".join(head + tail) + " |")
    return "\n".join(lines) + "\n"
