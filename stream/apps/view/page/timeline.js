// Thirty seconds of one face: stacked probabilities, hatched where it abstained, empty where there was no score, and
// below them how much each sample of the window drove the newest score (relevance).

import { fill } from "./face.js";

const SPAN_MS = 30000;
const STEP_MS = 60;
const RELEVANCE_PX = 26;

export class Timeline {
  constructor(canvas, legend) {
    this.canvas = canvas;
    this.legend = legend;
    this.labels = [];
    this.clear();
  }

  clear() {
    this.points = [];
    this.last = null;
    this.dirty = true;
    this.label = "";
  }

  name(labels) {
    if (labels.join() === this.labels.join()) return;
    this.labels = labels;
    this.legend.replaceChildren(
      ...labels.map((label) => {
        const entry = document.createElement("b");
        entry.textContent = label;
        entry.style.setProperty("--fill", fill(label));
        return entry;
      }),
    );
    const rest = document.createElement("span");
    rest.textContent = "hatched: unsure · empty: no score · strip below: relevance of the last window's samples";
    this.legend.append(rest);
  }

  add(message, face) {
    const at = message.t_publish_ns / 1e6;
    const held = this.points.at(-1);
    if (held && at - held.at < STEP_MS && Boolean(face?.ready) === Boolean(held.probs)) {
      if (face?.relevance) this.last = this.window(face, at);
      return;
    }
    this.points.push({ at, probs: face?.ready ? (face.smoothed ?? face.probs) : null, unsure: face?.ready && !face.label });
    while (this.points.length && this.points[0].at < at - SPAN_MS) this.points.shift();
    if (face?.relevance) this.last = this.window(face, at);
    this.dirty = true;
    this.label = face?.ready ? (face.label ?? "unsure") : "no score";
  }

  window(face, at) {
    return { relevance: face.relevance, end: at - (face.score_age_ms ?? 0), span: face.window.span_ms };
  }

  draw() {
    if (!this.dirty) return;
    this.dirty = false;
    const { canvas, points, labels } = this;
    const context = canvas.getContext("2d");
    const { width, height } = canvas;
    const style = getComputedStyle(canvas);
    const base = height - RELEVANCE_PX;
    const newest = points.at(-1)?.at ?? 0;
    const x = (at) => width - ((newest - at) / SPAN_MS) * width;
    context.clearRect(0, 0, width, height);
    const colors = labels.map((label) => style.getPropertyValue(fill(label).slice(4, -1)));
    for (let k = 0; k + 1 < points.length; k++) {
      const { at, probs, unsure } = points[k];
      if (!probs) continue;
      const left = x(at);
      const wide = Math.min(x(points[k + 1].at) - left, (width * 500) / SPAN_MS) + 0.7;
      let top = base;
      labels.forEach((label, n) => {
        const tall = (probs[label] ?? 0) * base;
        context.fillStyle = colors[n];
        context.fillRect(left, top - tall, wide, tall);
        top -= tall;
      });
      if (unsure) this.hatch(context, left, wide, base, style.getPropertyValue("--card"));
    }
    this.strip(context, x, base, height, style);
    const said = points.length ? `Probabilities of the last 30 seconds, now ${this.label}` : "No history yet";
    if (canvas.getAttribute("aria-label") !== said) canvas.setAttribute("aria-label", said);
  }

  hatch(context, left, wide, base, color) {
    context.save();
    context.beginPath();
    context.rect(left, 0, wide, base);
    context.clip();
    context.strokeStyle = color;
    context.lineWidth = 3;
    context.beginPath();
    for (let from = Math.floor((left - base) / 9) * 9; from < left + wide; from += 9) {
      context.moveTo(from, base);
      context.lineTo(from + base, 0);
    }
    context.stroke();
    context.restore();
  }

  strip(context, x, base, height, style) {
    context.fillStyle = style.getPropertyValue("--line");
    context.fillRect(0, base + 1, context.canvas.width, 1);
    if (!this.last?.relevance?.length) return;
    const { relevance, end, span } = this.last;
    const most = Math.max(...relevance);
    const wide = Math.max((x(end) - x(end - span)) / relevance.length - 1, 1);
    context.fillStyle = style.getPropertyValue("--ink");
    relevance.forEach((share, n) => {
      const tall = (share / most) * (height - base - 4);
      context.fillRect(x(end - span + (span * n) / relevance.length), height - tall, wide, tall);
    });
  }
}
