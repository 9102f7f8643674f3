// What the npm package `openai` makes of the gateway at BASE_URL: `node client.mjs <scenario> <model>` prints JSON.
import process from "node:process";

import OpenAI from "openai";

const [scenario, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL: process.env.BASE_URL, apiKey: process.env.API_KEY, maxRetries: 0 });
const messages = [{ role: "user", content: "hi" }];
const weather = {
  type: "function",
  function: { name: "weather", parameters: { type: "object", properties: { city: { type: "string" } } } },
};

async function streamed(options = {}) {
  const stream = await client.chat.completions.create({ model, messages, stream: true, ...options });
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

const scenarios = {
  async chat() {
    const { data, response, request_id } = await client.chat.completions.create({ model, messages }).withResponse();
    return { completion: data, requestId: request_id, provider: response.headers.get("x-signalbox-provider") };
  },
  async stream() {
    return streamed();
  },
  async streamWithUsage() {
    return streamed({ stream_options: { include_usage: true } });
  },
  async helper() {
    const runner = client.chat.completions.stream({ model, messages });
    return { text: await runner.finalContent() };
  },
  async tools() {
    const completion = await client.chat.completions.create({ model, messages, tools: [weather] });
    return completion.choices[0].message.tool_calls;
  },
  async runTools() {
    const asked = [];
    const tool = { ...weather.function, parse: JSON.parse, function: ({ city }) => asked.push(city) && "rain" };
    const runner = client.chat.completions.runTools({ model, messages, tools: [{ type: "function", function: tool }] });
    return { text: await runner.finalContent(), asked };
  },
  async embeddings() {
    const packed = await client.embeddings.create({ model, input: ["one", "two"] });
    const floats = await client.embeddings.create({ model, input: [1, 2], encoding_format: "float" });
    return [packed, floats].map(({ data }) => data.map(({ embedding }) => Array.from(embedding)));
  },
  async completion() {
    return client.completions.create({ model, prompt: "Once" });
  },
  async models() {
    const ids = [];
    for await (const each of client.models.list()) ids.push(each.id);
    return { ids, card: await client.models.retrieve(model) };
  },
  async retried() {
    const completion = await client.chat.completions.create({ model, messages }, { maxRetries: 2 });
    return completion.choices[0].message.content;
  },
  async wrongKey() {
    return client.withOptions({ apiKey: "sk-wrong" }).chat.completions.create({ model, messages });
  },
  async unknownCard() {
    return client.models.retrieve(model);
  },
  async left() {
    const stream = await client.chat.completions.create({ model, messages, stream: true });
    for await (const chunk of stream) {
      stream.controller.abort();
      return chunk;
    }
  },
};

try {
  console.log(JSON.stringify({ answer: await scenarios[scenario]() }));
} catch (error) {
  if (!(error instanceof OpenAI.APIError)) throw error;
  const { status, code, param, type, message, requestID } = error;
  console.log(JSON.stringify({ error: { name: error.constructor.name, status, code, param, type, message, requestID } }));
}
