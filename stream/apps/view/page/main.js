// Opens the feed, hands each message to its source's card, and speaks at most once a second.

import { SourceCard } from "./source.js";

const cards = new Map();
const connection = document.getElementById("connection");
const spoken = document.getElementById("spoken");
const pause = document.getElementById("pause");
const theme = document.getElementById("theme");
const LONGEST_WAIT_MS = 5000;
const LOOK_EVERY_MS = 250;
let paused = false;
let waitMs = 250;

function card(source) {
  if (!cards.has(source)) {
    document.getElementById("nothing").hidden = true;
    const made = new SourceCard(source);
    cards.set(source, made);
    const after = [...cards.keys()].sort()[[...cards.keys()].sort().indexOf(source) + 1];
    document.getElementById("sources").insertBefore(made.element, after ? cards.get(after).element : null);
  }
  return cards.get(source);
}

const handlers = {
  hello: (message) => {
    document.getElementById("endpoints").textContent = message.endpoints.join(", ");
  },
  faces: (message) => card(message.body.source).takeFaces(message.body, message.transit_ms),
  status: (message) => card(message.body.source).takeStatus(message.body),
  event: (message) => card(message.body.source).takeEvent(message.body),
  link: (message) => card(message.source).takeLink(message),
  skipped: (message) => {
    const line = document.getElementById("skipped");
    line.hidden = false;
    line.textContent = `${message.count} messages from ${message.endpoint} are of another version or broken and were skipped: update dferstream.`;
  },
};

function take(data) {
  if (paused) return;
  if (typeof data === "string") {
    const message = JSON.parse(data);
    handlers[message.type]?.(message);
    return;
  }
  const length = new DataView(data).getUint16(0);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 2, length)));
  card(head.source).takePicture(head.frame_id, new Blob([new Uint8Array(data, 2 + length)], { type: "image/jpeg" }));
}

function say(state, text) {
  connection.dataset.state = state;
  connection.textContent = text;
}

function connect() {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const feed = new WebSocket(`${scheme}://${location.host}/feed`);
  feed.binaryType = "arraybuffer";
  feed.onopen = () => {
    waitMs = 250;
    say("live", "connected");
  };
  feed.onmessage = (event) => {
    take(event.data);
    ask();
  };
  feed.onclose = () => {
    say("lost", "the page's server is gone; trying again");
    for (const each of cards.values()) each.lose("the page's server is gone");
    setTimeout(connect, waitMs);
    waitMs = Math.min(2 * waitMs, LONGEST_WAIT_MS);
  };
}

pause.onclick = () => {
  paused = !paused;
  pause.setAttribute("aria-pressed", String(paused));
  pause.textContent = paused ? "Go on" : "Pause";
};

const THEMES = ["system", "light", "dark"];
theme.onclick = () => {
  const next = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme ?? "system") + 1) % THEMES.length];
  if (next === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  theme.textContent = `Theme: ${next}`;
};

// A screen reader hears what changed, in whole sentences and no faster than it can speak.
setInterval(() => {
  const text = [...cards.values()].map((each) => each.sentence()).join(" ");
  if (!paused && text !== spoken.textContent) spoken.textContent = text;
}, 1000);

// What came is drawn with the screen's next picture; silence is noticed without a message, too.
let asked = false;
function ask() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    if (!paused) for (const each of cards.values()) each.draw();
  });
}
setInterval(ask, LOOK_EVERY_MS);

connect();
