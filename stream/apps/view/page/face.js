// One face: its label or why there is none, seven probabilities, eyes, mouth and head.

export function fill(name) {
  const known = ["happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear"];
  return `var(--${known.includes(name) ? name : "other"})`;
}

const WHY = { warming: "window filling up", starved: "too few samples", occluded: "not seen" };
const TURN_DEG = 60;

class Bar {
  constructor(list, name, color, turn = false) {
    const row = document.createElement("div");
    const term = document.createElement("dt");
    term.textContent = name;
    const graph = document.createElement("dd");
    const track = document.createElement("span");
    track.className = turn ? "track turn" : "track";
    this.fill = document.createElement("i");
    if (color) track.style.setProperty("--fill", color);
    track.append(this.fill);
    track.setAttribute("aria-hidden", "true");
    graph.append(track);
    this.value = document.createElement("dd");
    this.value.className = "value";
    row.append(term, graph, this.value);
    list.append(row);
    this.row = row;
  }

  show(share, text) {
    this.fill.style.transform = `scaleX(${share ?? 0})`;
    this.row.classList.toggle("unknown", share === null);
    if (this.value.textContent !== text) this.value.textContent = text;
  }
}

const percent = (value) => `${Math.round(100 * value)} %`;

export class FacePanel {
  constructor(source, labels, choose) {
    this.element = document.getElementById("face").content.cloneNode(true).firstElementChild;
    const part = (name) => this.element.querySelector(`[data-part="${name}"]`);
    this.button = part("choose");
    this.button.onclick = choose;
    this.label = part("label");
    this.scores = new Map(labels.map((name) => [name, new Bar(part("scores"), name, fill(name))]));
    const signals = part("signals");
    this.left = new Bar(signals, "left eye");
    this.right = new Bar(signals, "right eye");
    this.mouth = new Bar(signals, "mouth");
    this.angles = ["yaw", "pitch", "roll"].map((name) => [name, new Bar(signals, `head ${name}`, null, true)]);
    this.source = source;
  }

  show(face, chosen, frameId) {
    const title = `Face ${face.id}${face.primary ? " (primary)" : ""}`;
    if (this.button.textContent !== title) this.button.textContent = title;
    this.button.setAttribute("aria-pressed", String(chosen));
    this.element.classList.toggle("chosen", chosen);
    this.element.dataset.frame = frameId;
    const [text, unsure] = this.verdict(face);
    if (this.label.textContent !== text) this.label.textContent = text;
    this.label.classList.toggle("unsure", unsure);
    for (const [name, bar] of this.scores) {
      // What the label and its confidence rest on.
      const value = (face.smoothed ?? face.probs)?.[name];
      bar.show(value ?? null, value == null ? "–" : percent(value));
    }
    this.open(this.left, face.eyes?.left, "open", "shut", 0.5);
    this.open(this.right, face.eyes?.right, "open", "shut", 0.5);
    this.open(this.mouth, face.mouth_open, null, null, 0);
    for (const [name, bar] of this.angles) {
      const angle = face.head?.[name];
      const share = angle == null ? null : Math.max(-1, Math.min(1, angle / TURN_DEG));
      bar.show(share, angle == null ? "–" : `${Math.round(angle)}°`);
    }
  }

  verdict(face) {
    if (!face.ready) return [`no score: ${WHY[face.reason] ?? face.reason}`, true];
    if (face.label === null || face.label === undefined) return ["unsure (abstained)", true];
    return [`${face.label} ${percent(face.confidence)}`, false];
  }

  open(bar, value, yes, no, bound) {
    if (value == null) bar.show(null, "–");
    else bar.show(value, yes ? (value >= bound ? yes : no) : percent(value));
  }
}
