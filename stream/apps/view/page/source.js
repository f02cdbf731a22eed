// One source: its state line, picture and boxes, faces and history.

import { FacePanel } from "./face.js";
import { Timeline } from "./timeline.js";
import { View } from "./view.js";

const SILENT_MS = 1500;
const CAMERA = { no_camera: "no camera", stalled: "camera stalled", frozen: "camera frozen", ended: "the file has ended" };

export class SourceCard {
  constructor(source) {
    this.source = source;
    this.element = document.getElementById("source").content.cloneNode(true).firstElementChild;
    const part = (name) => this.element.querySelector(`[data-part="${name}"]`);
    const heading = this.element.querySelector("h2");
    heading.textContent = source;
    heading.id = `source-${source}`;
    this.element.setAttribute("aria-labelledby", heading.id);
    this.state = part("state");
    this.list = part("faces");
    this.who = part("who");
    this.view = new View(part("picture"), part("boxes"), part("with"), part("without"));
    this.timeline = new Timeline(part("timeline"), part("legend"));
    this.panels = new Map();
    this.chosen = null;
    this.newest = null;
    this.link = null;
    this.event = "";
    this.drawn = null;
  }

  takeFaces(message, transitMs) {
    if (this.newest && this.newest.session !== message.session) {
      this.timeline.clear();
      this.view.clear();
      this.chosen = null;
    }
    this.newest = message;
    this.transitMs = transitMs;
    this.arrivedMs = performance.now();
    this.view.takeFaces(message);
    const faces = message.faces.filter((face) => face.state !== "lost");
    if (!faces.some((face) => face.id === this.chosen)) {
      this.chosen = (faces.find((face) => face.primary) ?? faces[0])?.id ?? this.chosen;
    }
    const shown = faces.find((face) => face.id === this.chosen);
    this.timeline.add(message, message.valid ? shown : undefined);
  }

  takeStatus(message) {
    this.status = message;
  }

  takeEvent(message) {
    this.event = message.event.replaceAll("_", " ");
  }

  takeLink(message) {
    this.link = message;
  }

  takePicture(frameId, blob) {
    this.view.takePicture(frameId, blob);
  }

  lose(why) {
    this.link = { alive: false, why };
    this.newest = null;
  }

  // Whatever came since the last picture of the screen is drawn once.
  draw() {
    this.drawState();
    if (this.newest !== this.drawn) {
      this.drawn = this.newest;
      if (this.newest) this.drawFaces(this.newest);
    }
    this.view.draw(this.chosen);
    this.timeline.draw();
  }

  drawState() {
    const [state, text] = this.describe();
    if (this.state.textContent !== text) this.state.textContent = text;
    this.state.dataset.state = state;
    this.element.classList.toggle("stale", state === "lost");
  }

  describe() {
    const message = this.newest;
    const age = message ? performance.now() - this.arrivedMs : Infinity;
    const limit = Math.max(SILENT_MS, message?.rate_hz ? 10000 / message.rate_hz : 0);
    if (!message || age > limit || this.link?.alive === false) {
      const since = Number.isFinite(age) ? `no message for ${Math.round(age / 1000)} s` : "no message yet";
      return ["lost", this.link?.why ?? `${since}: is the daemon running?`];
    }
    if (!message.valid) return ["lost", `${CAMERA[message.reason] ?? message.reason}: no scores`];
    const parts = [];
    const slow = this.link && !this.link.on_time;
    parts.push(slow ? "late" : "live");
    if (this.link) parts.push(`${this.link.rate_hz.toFixed(1)} messages/s`);
    if (message.latency_ms.total != null) {
      parts.push(`latency ${Math.round(message.latency_ms.total + (this.transitMs ?? 0))} ms`);
    }
    parts.push(`frame ${message.frame_id}`, `${message.dropped_total} dropped`);
    if (this.link?.lost) parts.push(`${this.link.lost} lost on the way`);
    if (message.degraded.length) parts.push(`degraded: ${message.degraded.join(", ")}`);
    if (this.status?.note) parts.push(this.status.note);
    return [slow || message.degraded.length ? "late" : "live", parts.join(" · ")];
  }

  drawFaces(message) {
    const faces = message.valid ? message.faces.filter((face) => face.state !== "lost") : [];
    for (const [id, panel] of this.panels) {
      if (faces.some((face) => face.id === id)) continue;
      panel.element.remove();
      this.panels.delete(id);
    }
    const labels = message.model?.labels ?? [];
    for (const face of faces) {
      let panel = this.panels.get(face.id);
      if (!panel) {
        panel = new FacePanel(this.source, labels, () => this.choose(face.id));
        this.panels.set(face.id, panel);
        this.list.append(panel.element);
      }
      panel.show(face, face.id === this.chosen, message.frame_id);
    }
    this.list.dataset.frame = message.frame_id;
    this.timeline.name(labels);
    const who = this.chosen ? `face ${this.chosen}` : "no face yet";
    if (this.who.textContent !== who) this.who.textContent = who;
  }

  choose(id) {
    this.chosen = id;
    this.timeline.clear();
    this.drawn = null;
  }

  sentence() {
    const [state, text] = this.describe();
    if (state === "lost") return `${this.source}: ${text}.`;
    const faces = this.newest.faces.filter((face) => face.state !== "lost");
    if (!faces.length) return `${this.source}: no face.`;
    const said = faces.map((face) => (face.label ? `${face.label}` : face.ready ? "unsure" : face.reason));
    return `${this.source}: ${faces.length === 1 ? "one face" : `${faces.length} faces`}, ${said.join(", ")}.`;
  }
}
