"""LiteLLM's own client of models, unchanged, against one node, which it takes for a vendor of each kind.

Usage: KEY=… POOR_KEY=… python litellm_completion.py NODE_URL
"""

import asyncio
import json
import os
import sys

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # nothing is fetched from the internet

import litellm
from litellm.exceptions import AuthenticationError, BadRequestError, NotFoundError, PermissionDeniedError, RateLimitError

NODE, KEY, POOR = sys.argv[1], os.environ["KEY"], os.environ["POOR_KEY"]
HELLO = [{"role": "user", "content": "hello"}]
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]
OPENAI = {"model": "openai/demo", "api_base": NODE + "/v1"}
# Each with the address that LiteLLM wants of such a vendor.
FORMS = [
    OPENAI,
    {"model": "litellm_proxy/demo", "api_base": NODE},
    {"model": "hosted_vllm/demo", "api_base": NODE + "/v1"},
    {"model": "azure/demo", "api_base": NODE, "api_version": "2024-10-21"},
    {"model": "anthropic/demo", "api_base": NODE},
    {"model": "gemini/demo", "api_base": NODE + "/v1beta"},
    {"model": "bedrock/converse/demo", "api_base": NODE, "aws_region_name": "eu-west-1", "allowed_openai_params": ["tools", "tool_choice"]},
]
litellm.num_retries = 0
litellm.suppress_debug_info = True


def refused(kind, call):
    """Fail unless call raises an error of the given class, or of one of them."""
    try:
        call()
    except kind:
        return
    raise AssertionError(f"want {kind}, got an answer")


def joined(chunks, form):
    """Check a stream, and return what it says."""
    whole = litellm.stream_chunk_builder(chunks, messages=HELLO)
    assert whole.usage.completion_tokens > 0, (form, whole)
    return whole.choices[0]


def conversation(form):
    """Hold a conversation of a text, a stream, a call of a tool and what follows it."""
    ask = {**form, "api_key": KEY, "messages": HELLO, "max_tokens": 64}
    answer = litellm.completion(**ask)
    text = answer.choices[0].message.content
    assert text == "You said: hello" and answer.choices[0].finish_reason == "stop", (form, answer)
    assert answer.usage.prompt_tokens > 0 and answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens, (form, answer)
    streamed = {"stream": True, "stream_options": {"include_usage": True}}
    said = joined(list(litellm.completion(**ask, **streamed)), form)
    assert said.message.content == text and said.finish_reason == "stop", (form, said)
    called = litellm.completion(**ask, tools=TOOLS, tool_choice="required").choices[0]
    calls = called.message.tool_calls
    assert [c.function.name for c in calls] == ["get_weather"] and called.finish_reason == "tool_calls", (form, called)
    assert json.loads(calls[0].function.arguments) == {"city": "text"}, (form, calls)
    said = joined(list(litellm.completion(**ask, tools=TOOLS, tool_choice="required", **streamed)), form)
    assert [(c.function.name, json.loads(c.function.arguments)) for c in said.message.tool_calls] == [("get_weather", {"city": "text"})], (form, said)
    after = [*HELLO, called.message.model_dump(), {"role": "tool", "tool_call_id": calls[0].id, "content": "sunny"}]
    assert litellm.completion(**{**ask, "messages": after}, tools=TOOLS).choices[0].message.content, form
    unknown = PermissionDeniedError if form["model"].startswith("bedrock") else AuthenticationError  # as Amazon has it
    refused(unknown, lambda: litellm.completion(**{**ask, "api_key": "sk-unknown-0123456789"}))
    # Of Gemini LiteLLM takes "403" anywhere in the text, a key's id too, for something else.
    spent = (RateLimitError, BadRequestError) if form["model"].startswith("gemini") else RateLimitError
    refused(spent, lambda: litellm.completion(**{**ask, "api_key": POOR}))


async def asynchronous(form):
    ask = {**form, "api_key": KEY, "messages": HELLO, "max_tokens": 64}
    whole, stream = await asyncio.gather(litellm.acompletion(**ask), litellm.acompletion(**ask, stream=True))
    text = "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])
    assert whole.choices[0].message.content == text == "You said: hello", (form, whole, text)


def others():
    """Ask for what is no chat completion."""
    ask = {**OPENAI, "api_key": KEY}
    schema = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object", "properties": {"a": {"type": "integer"}}}}}
    for form in FORMS[:5]:  # to the others LiteLLM gives the schema of an unknown model in words
        answer = litellm.completion(**form, api_key=KEY, messages=HELLO, response_format=schema)
        assert json.loads(answer.choices[0].message.content) == {"a": 1}, (form, answer)
    response = litellm.responses(**ask, input="hello")
    assert response.output[0].content[0].text == "You said: hello" and response.usage.output_tokens > 0, response
    events = list(litellm.responses(**ask, input="hello", stream=True))
    assert events[-1].type == "response.completed" and events[-1].response.output[0].content[0].text == "You said: hello", events[-1]
    message = asyncio.run(litellm.anthropic.messages.acreate(model="anthropic/demo", api_base=NODE, api_key=KEY, messages=HELLO, max_tokens=64))
    assert message["content"][0]["text"] == "You said: hello" and message["usage"]["output_tokens"] > 0, message
    text = litellm.text_completion(model="text-completion-openai/demo", api_base=NODE + "/v1", api_key=KEY, prompt="once", max_tokens=8)
    assert text.choices[0].text and text.usage.completion_tokens > 0, text
    vectors = litellm.embedding(**ask, input=["one", "two"]).data
    assert len(vectors) == 2 and vectors[0]["embedding"] != vectors[1]["embedding"], vectors
    assert litellm.image_generation(**ask, prompt="a cat").data[0].b64_json
    assert litellm.speech(**ask, input="hello", voice="alloy").content
    assert litellm.transcription(**ask, file=("a.wav", b"RIFF")).text
    assert litellm.moderation(**{**ask, "model": "demo"}, input="hello").results[0].flagged is False
    ranked = litellm.rerank(model="cohere/ranks", api_base=NODE + "/v2/rerank", api_key=KEY, query="b", documents=["a", "b"]).results
    assert sorted(r["index"] for r in ranked) == [0, 1], ranked


def errors():
    ask = {**OPENAI, "api_key": KEY, "messages": HELLO}
    refused(NotFoundError, lambda: litellm.completion(**{**ask, "model": "openai/missing"}))
    refused(BadRequestError, lambda: litellm.completion(**ask, extra_body={"api_base": "http://127.0.0.1:1/v1"}))


for form in FORMS:
    conversation(form)
    asyncio.run(asynchronous(form))
others()
errors()
print("ok")
