// Unchanged JavaScript clients of OpenAI, Anthropic, Google and Vercel's AI SDK against one node.
//
// The model's provider speaks OpenAI's chat completions: all other dialects are translated.
//
// Usage: KEY=… POOR_KEY=… node sdks.mjs NODE_URL

import assert from "node:assert/strict";

import Anthropic from "@anthropic-ai/sdk";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createGoogleGenerativeAI } from "@ai-sdk/google";
import { createOpenAI } from "@ai-sdk/openai";
import { GoogleGenAI, FunctionCallingConfigMode } from "@google/genai";
import { generateText, jsonSchema, streamText, tool } from "ai";
import OpenAI from "openai";

const node = process.argv[2];
const { KEY: key, POOR_KEY: poor } = process.env;
const schema = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const hello = [{ role: "user", content: "hello" }];

async function openai() {
  const client = new OpenAI({ baseURL: node + "/v1", apiKey: key, maxRetries: 0 });
  const whole = await client.chat.completions.create({ model: "demo", messages: hello });
  assert(whole.choices[0].message.content && whole.usage.total_tokens > 0);
  const stream = client.chat.completions.stream({ model: "demo", messages: hello, stream_options: { include_usage: true } });
  const final = await stream.finalChatCompletion();
  assert(final.choices[0].message.content);
  assert((await stream.totalUsage()).total_tokens > 0);
  const tools = [{ type: "function", function: { name: "get_weather", parameters: schema } }];
  const called = await client.chat.completions.create({ model: "demo", messages: hello, tools, tool_choice: "required" });
  const call = called.choices[0].message.tool_calls[0];
  assert.equal(call.function.name, "get_weather");
  JSON.parse(call.function.arguments);
  const answered = await client.chat.completions.create({
    model: "demo",
    tools,
    messages: [...hello, called.choices[0].message, { role: "tool", tool_call_id: call.id, content: "sunny" }],
  });
  assert(answered.choices[0].message.content);
  const response = await client.responses.create({ model: "demo", input: "hello", store: false });
  assert(response.output_text && response.usage.total_tokens > 0);
  let text = "";
  let last;
  for await (const event of await client.responses.create({ model: "demo", input: "hello", store: false, stream: true })) {
    if (event.type === "response.output_text.delta") text += event.delta;
    last = event;
  }
  assert.equal(last.type, "response.completed");
  assert.equal(text, response.output_text);
  const vectors = await client.embeddings.create({ model: "demo", input: ["a", "b"] });
  assert.equal(vectors.data.length, 2);
  const names = [];
  for await (const model of client.models.list()) names.push(model.id);
  assert(names.includes("demo"));
  await assert.rejects(client.chat.completions.create({ model: "missing", messages: hello }), OpenAI.NotFoundError);
  const stranger = new OpenAI({ baseURL: node + "/v1", apiKey: "sk-nobody", maxRetries: 0 });
  await assert.rejects(stranger.models.list(), OpenAI.AuthenticationError);
  const broke = new OpenAI({ baseURL: node + "/v1", apiKey: poor, maxRetries: 0 });
  await assert.rejects(broke.chat.completions.create({ model: "demo", messages: hello }), OpenAI.RateLimitError);
}

async function anthropic() {
  const client = new Anthropic({ baseURL: node, apiKey: key, maxRetries: 0 });
  const whole = await client.messages.create({ model: "demo", max_tokens: 64, messages: hello });
  assert(whole.content[0].text && whole.usage.output_tokens > 0);
  const final = await client.messages.stream({ model: "demo", max_tokens: 64, messages: hello }).finalMessage();
  assert.equal(final.content[0].text, whole.content[0].text);
  const tools = [{ name: "get_weather", input_schema: schema }];
  for (const called of [
    await client.messages.create({ model: "demo", max_tokens: 64, messages: hello, tools, tool_choice: { type: "any" } }),
    await client.messages.stream({ model: "demo", max_tokens: 64, messages: hello, tools, tool_choice: { type: "any" } }).finalMessage(),
  ]) {
    assert.equal(called.stop_reason, "tool_use");
    assert.equal(called.content.find((b) => b.type === "tool_use").name, "get_weather");
  }
  const counted = await client.messages.countTokens({ model: "demo", messages: hello });
  assert(counted.input_tokens > 0);
  await assert.rejects(client.messages.create({ model: "missing", max_tokens: 9, messages: hello }), Anthropic.NotFoundError);
}

async function google() {
  const ai = new GoogleGenAI({ apiKey: key, httpOptions: { baseUrl: node } });
  const whole = await ai.models.generateContent({ model: "demo", contents: "hello" });
  assert(whole.text && whole.usageMetadata.totalTokenCount > 0);
  let text = "";
  for await (const part of await ai.models.generateContentStream({ model: "demo", contents: "hello" })) text += part.text ?? "";
  assert.equal(text, whole.text);
  const called = await ai.models.generateContent({
    model: "demo",
    contents: "hello",
    config: {
      tools: [{ functionDeclarations: [{ name: "get_weather", parametersJsonSchema: schema }] }],
      toolConfig: { functionCallingConfig: { mode: FunctionCallingConfigMode.ANY } },
    },
  });
  assert.equal(called.functionCalls[0].name, "get_weather");
  await assert.rejects(ai.models.generateContent({ model: "missing", contents: "hello" }), /404|NOT_FOUND/);
}

async function vercel() {
  const openai = createOpenAI({ baseURL: node + "/v1", apiKey: key });
  const models = {
    chat: openai.chat("demo"),
    responses: openai.responses("demo"),
    anthropic: createAnthropic({ baseURL: node + "/v1", apiKey: key })("demo"),
    google: createGoogleGenerativeAI({ baseURL: node + "/v1beta", apiKey: key })("demo"),
  };
  for (const [name, model] of Object.entries(models)) {
    const whole = await generateText({ model, prompt: "hello", maxOutputTokens: 64, maxRetries: 0 });
    assert(whole.text && whole.usage.totalTokens > 0, name);
    const stream = streamText({ model, prompt: "hello", maxOutputTokens: 64, maxRetries: 0, onError: ({ error }) => assert.fail(`${name}: ${error}`) });
    let text = "";
    for await (const part of stream.textStream) text += part;
    assert.equal(text, whole.text, name);
    assert((await stream.usage).outputTokens > 0, name);
    const tools = { get_weather: tool({ description: "Weather.", inputSchema: jsonSchema(schema) }) };
    const called = await generateText({ model, prompt: "hello", tools, toolChoice: "required", maxOutputTokens: 64, maxRetries: 0 });
    assert.equal(called.toolCalls[0]?.toolName, "get_weather", name);
    assert.equal(called.finishReason, "tool-calls", name);
  }
}

for (const part of [openai, anthropic, google, vercel]) {
  await part().catch((err) => {
    console.error(part.name, err);
    process.exit(1);
  });
}
console.log("ok");
