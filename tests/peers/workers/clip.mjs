// What both workers under Node do alike: frames decoded by OpenCV in a child process, and a line a frame.
import { spawn } from 'node:child_process'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = dirname(fileURLToPath(import.meta.url))
const names = { angry: 'anger', happy: 'happiness', sad: 'sadness', surprised: 'surprise', fearful: 'fear', disgusted: 'disgust' }

// {width, height, rgb: Uint8Array} of the clip and as many as the arguments say.
export async function * frames () {
  const [, , clip, count] = process.argv
  const decoder = spawn(process.env.PEERS_PYTHON, [join(here, 'decode.py'), clip, count], { stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = new Promise(resolve => decoder.on('close', resolve))
  let held = []
  let size = 0
  const take = wanted => {
    const all = held.length === 1 ? held[0] : Buffer.concat(held)
    held = [all.subarray(wanted)]
    size -= wanted
    return all.subarray(0, wanted)
  }
  let head = null
  for await (const chunk of decoder.stdout) {
    held.push(chunk)
    size += chunk.length
    for (;;) {
      if (head === null && size >= 8) {
        const bytes = take(8)
        head = { width: bytes.readUInt32LE(0), height: bytes.readUInt32LE(4) }
      }
      if (head === null || size < head.width * head.height * 3) break
      yield { ...head, rgb: new Uint8Array(take(head.width * head.height * 3)) }
      head = null
    }
  }
  await ended
}

export function say (label) {
  const name = label ? label.toLowerCase() : null
  process.stdout.write(JSON.stringify({ label: names[name] ?? name }) + '\n')
}
