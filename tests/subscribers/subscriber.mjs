// Prints every message of `faces/`, one JSON line each: node subscriber.mjs ipc:///run/dferstream/cam0.ipc
import { Subscriber } from "zeromq";

const socket = new Subscriber({ receiveHighWaterMark: 16 });
socket.connect(process.argv[2] ?? "tcp://127.0.0.1:5570");
socket.subscribe("faces/");
for await (const [frame] of socket) {
  const text = frame.toString();
  const message = JSON.parse(text.slice(text.indexOf(" ") + 1)); // "faces/cam0 {...}"
  console.log(JSON.stringify(message));
}
