// @vladmandic/human: its detector, mesh and emotion net, on WASM.
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { frames, say } from './clip.mjs'

// It fetches its models, and Node's fetch knows no files.
globalThis.fetch = async url => {
  const bytes = await readFile(new URL(url))
  return new Response(bytes, { headers: { 'content-type': String(url).endsWith('.json') ? 'application/json' : 'application/octet-stream' } })
}

const require = createRequire(join(process.env.PEERS_NODE, 'package.json'))
const tf = require('@tensorflow/tfjs')
require('@tensorflow/tfjs-backend-wasm')
const home = join(process.env.PEERS_NODE, 'node_modules', '@vladmandic', 'human')
const { Human } = require(join(home, 'dist', 'human.node-wasm.js'))
const wasm = dirname(require.resolve('@tensorflow/tfjs-backend-wasm')) + '/'
const off = { enabled: false }
const human = new Human({
  backend: 'wasm', wasmPath: wasm, wasmPlatformFetch: false, debug: false, async: false,
  modelBasePath: 'file://' + join(home, 'models') + '/',
  filter: off, body: off, hand: off, object: off, gesture: off, segmentation: off,
  face: { enabled: true, detector: { maxDetected: 1 }, mesh: { enabled: true }, iris: off, description: off, emotion: { enabled: true, minConfidence: 0.1 } }
})
await human.init()
for await (const { width, height, rgb } of frames()) {
  const tensor = human.tf.tensor(rgb, [1, height, width, 3], 'float32')
  const found = await human.detect(tensor)
  say(found.face[0]?.emotion?.[0]?.emotion)
  human.tf.dispose(tensor)
}
process.exit(0)
