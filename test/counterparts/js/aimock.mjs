// aimock, a mock of providers that this project did not write, with the fixtures of our tests.
//
// Usage: node aimock.mjs PORT

import { LLMock } from '@copilotkit/aimock'

// The values of a tool's arguments, and of an object that is asked for, by their names.
const values = {
  a: 3, b: 4, answer_style: 'pirate', city: 'Paris', description: 'a customer', fav_color: 'purple', input: 3,
  location: 'San Francisco, CA', punchline: 'To the other slide.', setup: 'Where did the cat go?',
}
const joke = JSON.stringify({ setup: values.setup, punchline: values.punchline })

// What an answer has cost, in the words of each dialect.
const usage = {
  prompt_tokens: 5, completion_tokens: 7, input_tokens: 5, output_tokens: 7,
  promptTokenCount: 5, candidatesTokenCount: 7, totalTokenCount: 12,
}

const text = (content) => (typeof content === 'string' ? content : (content ?? []).map((part) => part.text ?? '').join(''))

// call is a call of the first tool.
function call (tool, asked) {
  const args = {}
  for (const name of Object.keys(tool.parameters?.properties ?? {})) {
    args[name] = name === 'customer_name' ? /'(.*?)'/.exec(asked)[1] : values[name] ?? 'text'
  }
  return { toolCalls: [{ name: tool.name, arguments: JSON.stringify(args) }], usage }
}

// answer calls a tool if there is one and the user has spoken last, tells a joke as an object if
// that is asked for, and says a few words else.
function answer (request) {
  const asked = text(request.messages.findLast((m) => m.role === 'user')?.content)
  if (request.tools?.length > 0 && request.messages.at(-1).role === 'user') {
    return call(request.tools[0].function, asked)
  }
  return { content: /joke/i.test(asked) ? joke : 'Hello, what you ask is answered.', usage }
}

const mock = new LLMock({ port: Number(process.argv[2]), host: '127.0.0.1', logLevel: 'warn' })
mock.on({ endpoint: 'chat' }, answer)
mock.on({ endpoint: 'realtime' }, answer)
mock.onImage(/./, { image: { b64Json: 'aW1hZ2U=', revisedPrompt: 'a cat' } })
mock.onSpeech(/./, { audio: Buffer.from('a sound').toString('base64'), format: 'mp3' })
mock.onTranscription({ transcription: { text: 'what was said', language: 'en', duration: 2 } })
mock.onTranslation({ transcription: { text: 'what was said', language: 'en', duration: 2 } })
mock.onRerank(/./, [{ index: 1, relevance_score: 0.9 }, { index: 0, relevance_score: 0.1 }])
mock.onModerate(/hate/, { flagged: true, categories: { hate: true }, category_scores: { hate: 0.9 } })
await mock.start()
console.log('listening on ' + mock.url)
