// The picture and the boxes over it: boxes are drawn for the frame that is shown, never for a newer one.

const KEEP = 120;
const NO_PICTURE_MS = 2000;
const LINE_PX = 3;

export class View {
  constructor(picture, boxes, note, scoresOnly) {
    this.picture = picture;
    this.boxes = boxes;
    this.note = note;
    this.scoresOnly = scoresOnly;
    this.messages = new Map();
    this.clear();
  }

  clear() {
    this.messages.clear();
    this.newest = null;
    this.shown = null;
    this.bitmap = null;
    this.pictureId = null;
    this.pictureMs = -Infinity;
    this.serial = this.latest = 0;
  }

  takeFaces(message) {
    this.messages.set(message.frame_id, message);
    if (this.messages.size > KEEP) this.messages.delete(this.messages.keys().next().value);
    this.newest = message;
  }

  async takePicture(frameId, blob) {
    const serial = ++this.serial;
    let bitmap;
    try {
      bitmap = await createImageBitmap(blob);
    } catch {
      return; // a broken picture is left out; the next one comes
    }
    if (serial < this.latest) {
      bitmap.close();
      return;
    }
    this.latest = serial;
    this.bitmap?.close();
    this.bitmap = bitmap;
    this.pictureId = frameId;
    this.pictureMs = performance.now();
  }

  draw(chosen) {
    const live = performance.now() - this.pictureMs < NO_PICTURE_MS;
    if (live !== this.live) {
      this.live = live;
      this.picture.hidden = !live;
      this.note.hidden = !live;
      this.scoresOnly.hidden = live;
    }
    if (live) {
      const message = this.messages.get(this.pictureId);
      if (!this.bitmap || !message || this.shown === message.frame_id) return;
      this.fit(this.picture, this.bitmap.width, this.bitmap.height);
      this.picture.getContext("2d").drawImage(this.bitmap, 0, 0);
      this.outline(message, this.bitmap.width, this.bitmap.height, chosen);
    } else if (this.newest && this.newest.frame_id !== this.shown) {
      const width = 640;
      const height = Math.round((width * (this.newest.height ?? 480)) / (this.newest.width ?? 640));
      this.outline(this.newest, width, height, chosen);
    }
  }

  fit(canvas, width, height) {
    if (canvas.width === width && canvas.height === height) return;
    canvas.width = width;
    canvas.height = height;
  }

  outline(message, width, height, chosen) {
    this.fit(this.boxes, width, height);
    const context = this.boxes.getContext("2d");
    context.clearRect(0, 0, width, height);
    const style = getComputedStyle(this.boxes);
    const scale = message.width ? width / message.width : 1;
    const faces = message.valid ? message.faces.filter((face) => face.state !== "lost") : [];
    context.font = "600 15px system-ui, sans-serif";
    for (const face of faces) {
      const [x, y, w, h] = face.box.map((value) => value * scale);
      context.lineWidth = face.id === chosen ? LINE_PX : LINE_PX - 1;
      context.setLineDash(face.state === "coasting" ? [6, 6] : []);
      context.strokeStyle = style.getPropertyValue("--box");
      context.strokeRect(x, y, w, h);
      const text = `${face.id} ${face.label ?? (face.ready ? "unsure" : "…")}`;
      const wide = context.measureText(text).width + 10;
      const top = y > 24 ? y - 24 : y + h + 4;
      context.fillStyle = style.getPropertyValue("--card");
      context.fillRect(x, top, wide, 20);
      context.fillStyle = style.getPropertyValue("--ink");
      context.fillText(text, x + 5, top + 15);
    }
    this.shown = message.frame_id;
    this.boxes.dataset.frame = message.frame_id;
    const said = faces.length === 1 ? "one face" : `${faces.length} faces`;
    if (this.boxes.getAttribute("aria-label") !== said) this.boxes.setAttribute("aria-label", said);
  }
}
