// Serves a GGUF model by OpenAI's chat completions, through the npm package @fugood/llama.node: llama.cpp in Node.js.
// For scoring and timing: one request at a time, images as data URIs, greedy answers.
import { createRequire } from 'node:module'
import { createServer } from 'node:http'
import { join } from 'node:path'

const LIMIT_BYTES = 256 * 1024 * 1024 // of a request
const IMAGE = '<__media__>' // stands for an image in the text that llama.cpp reads
const options = JSON.parse(process.argv[2])

const { loadModel } = createRequire(join(options.packages, 'package.json'))('@fugood/llama.node')
const context = await loadModel({
  model: options.model,
  n_ctx: options.context,
  n_parallel: 1, // or the context is divided
  n_threads: options.threads,
  n_gpu_layers: 0,
  ctx_shift: false,
})
context.initMultimodal({
  path: options.projector,
  use_gpu: false,
  image_min_tokens: options.min_tokens,
  image_max_tokens: options.max_tokens,
})

async function body(request) {
  const parts = []
  let size = 0
  for await (const part of request) {
    size += part.length
    if (size > LIMIT_BYTES) throw new Error(`a request of more than ${LIMIT_BYTES} bytes`)
    parts.push(part)
  }
  return JSON.parse(Buffer.concat(parts).toString())
}

// llama.cpp puts a line break between the parts of a message; one text holds them as the template does.
function joined(message, images) {
  if (typeof message.content === 'string') return message
  const parts = message.content.map((part) => {
    if (part.type === 'text') return part.text
    const url = part.image_url?.url ?? ''
    if (!url.startsWith('data:image/')) throw new Error('a part that is neither text nor an image as a data URI')
    images.push(url)
    return IMAGE
  })
  return { ...message, content: parts.join('') }
}

async function complete(asked, told) {
  const images = []
  const messages = asked.messages.map((message) => joined(message, images))
  if (JSON.stringify(messages).split(IMAGE).length !== images.length + 1) throw new Error(`a text with ${IMAGE} in it`)
  context.clearCache() // an answer depends on its request alone
  const ask = {
    messages,
    media_paths: images,
    jinja: true,
    temperature: 0,
    top_k: 1, // at a temperature of 0 alone, version 1.7.15 draws tokens by chance
    n_predict: asked.max_tokens ?? 128,
    ignore_eos: asked.ignore_eos ?? false,
    ...(asked.response_format && { response_format: asked.response_format }),
  }
  const result = await context.completion(ask, ({ token }) => told(token))
  const ended = result.stopped_eos && !result.context_full
  const message = { role: 'assistant', content: result.text }
  return {
    object: 'chat.completion',
    model: options.name,
    choices: [{ index: 0, message, finish_reason: ended ? 'stop' : 'length' }],
    usage: { prompt_tokens: result.tokens_evaluated, completion_tokens: result.tokens_predicted },
  }
}

let last = Promise.resolve()
function inTurn(work) {
  const turn = last.then(work)
  last = turn.catch(() => {})
  return turn
}

// Streams an answer token by token, as server-sent events.
async function stream(asked, response) {
  const send = (choices, more) => response.write(`data: ${JSON.stringify({ choices, ...more })}\n\n`)
  response.writeHead(200, { 'content-type': 'text/event-stream' })
  try {
    const whole = await complete(asked, (content) => send([{ index: 0, delta: { content } }]))
    send([{ index: 0, delta: {}, finish_reason: whole.choices[0].finish_reason }])
    send([], { usage: whole.usage })
  } catch (error) {
    send([], { error: { message: String(error?.message ?? error) } })
  }
  response.end('data: [DONE]\n\n')
}

function answer(response, status, told) {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(told))
}

const server = createServer(async (request, response) => {
  try {
    if (request.url === '/health') {
      answer(response, 200, { status: 'ok' })
    } else if (request.url === '/v1/models') {
      answer(response, 200, { object: 'list', data: [{ id: options.name, object: 'model', owned_by: 'llamacpp' }] })
    } else if (request.url === '/v1/chat/completions' && request.method === 'POST') {
      const asked = await body(request)
      if (asked.stream) await inTurn(() => stream(asked, response))
      else answer(response, 200, await inTurn(() => complete(asked, () => {})))
    } else {
      answer(response, 404, { error: { message: 'there is no such address' } })
    }
  } catch (error) {
    answer(response, 400, { error: { message: String(error?.message ?? error) } })
  }
})
server.requestTimeout = 0
server.listen(options.port, '127.0.0.1')
process.stdin.on('end', () => process.exit(0)).resume() // whoever started it has ended
