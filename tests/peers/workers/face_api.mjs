// @vladmandic/face-api: the tiny detector or SSD, and the expression net, on WASM.
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { frames, say } from './clip.mjs'

const require = createRequire(join(process.env.PEERS_NODE, 'package.json'))
const tf = require('@tensorflow/tfjs')
const { setWasmPaths } = require('@tensorflow/tfjs-backend-wasm')
setWasmPaths(dirname(require.resolve('@tensorflow/tfjs-backend-wasm')) + '/')
const api = require('@vladmandic/face-api/dist/face-api.node-wasm.js')
await api.tf.setBackend('wasm')
await api.tf.ready()
const model = join(dirname(require.resolve('@vladmandic/face-api/package.json')), 'model')
await api.nets.tinyFaceDetector.loadFromDisk(model)
await api.nets.faceExpressionNet.loadFromDisk(model)
const options = new api.TinyFaceDetectorOptions()
for await (const { width, height, rgb } of frames()) {
  const tensor = api.tf.tensor3d(rgb, [height, width, 3], 'int32')
  const found = await api.detectSingleFace(tensor, options).withFaceExpressions()
  api.tf.dispose(tensor)
  say(found ? Object.entries(found.expressions).sort((a, b) => b[1] - a[1])[0][0] : null)
}
process.exit(0)
