// node follow.mjs 'http://127.0.0.1:8080/events?topic=…' kid=secret [kid=secret…]
//
// Prints a line of JSON for each event of a stream: its payload, opened, or why it
// was not.
import { importKey, open } from './open.mjs'

const [url, ...pairs] = process.argv.slice(2)
const keys = new Map()
for (const pair of pairs) {
  const at = pair.indexOf('=')
  keys.set(pair.slice(0, at), await importKey(pair.slice(at + 1)))
}
const response = await fetch(url, { headers: { Accept: 'text/event-stream' } })
if (!response.ok) {
  throw new Error(`${response.status} ${await response.text()}`)
}
let rest = ''
for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
  const blocks = (rest + text).split('\n\n')
  rest = blocks.pop()
  for (const block of blocks) {
    const data = block.split('\n').filter((line) => line.startsWith('data: ')).map((line) => line.slice(6)).join('\n')
    const event = data === '' ? {} : JSON.parse(data)
    if (event.specversion === undefined) {
      continue // outcrier.hello and the like
    }
    try {
      console.log(JSON.stringify({ id: event.id, payload: await open(event, keys) }))
    } catch (error) {
      console.log(JSON.stringify({ id: event.id, refused: error.message || error.name }))
    }
  }
}
