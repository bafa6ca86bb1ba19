"""An unchanged OpenAI client against one node: chat, stream, tools, embeddings, errors.

Usage: KEY=… LIMITED_KEY=… POOR_KEY=… python openai_sdk.py BASE_URL
"""

import os
import sys

import openai

BASE = sys.argv[1]
client = openai.OpenAI(base_url=BASE, api_key=os.environ["KEY"], max_retries=0)
HELLO = [{"role": "user", "content": "hello"}]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]


def refused(kind, call):
    """Return the error of the given class that call raises."""
    try:
        call()
    except kind as err:
        return err
    raise AssertionError(f"want {kind.__name__}, got an answer")


def other(key):
    return openai.OpenAI(base_url=BASE, api_key=key, max_retries=0)


chat = client.chat.completions.create(model="demo", messages=HELLO)
assert chat.choices[0].message.content, chat
assert chat.usage.prompt_tokens > 0 and chat.usage.completion_tokens > 0, chat.usage
assert chat.usage.total_tokens == chat.usage.prompt_tokens + chat.usage.completion_tokens, chat.usage

chunks = list(client.chat.completions.create(model="demo", messages=HELLO, stream=True))
assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices), chunks
assert chunks[-1].choices and chunks[-1].choices[0].finish_reason, chunks[-1]
assert all(c.usage is None for c in chunks), "usage was not asked for"

chunks = list(
    client.chat.completions.create(model="demo", messages=HELLO, stream=True, stream_options={"include_usage": True})
)
assert chunks[-1].usage.total_tokens > 0, chunks[-1]

calls = client.chat.completions.create(model="demo", messages=HELLO, tools=TOOLS, tool_choice="required")
assert calls.choices[0].message.tool_calls[0].function.name == "get_weather", calls
streamed = client.chat.completions.create(model="demo", messages=HELLO, tools=TOOLS, tool_choice="required", stream=True)
names = [t.function.name for c in streamed if c.choices for t in c.choices[0].delta.tool_calls or [] if t.function.name]
assert names == ["get_weather"], names

text = client.completions.create(model="demo", prompt="once", max_tokens=8)
assert text.choices[0].text and text.usage.completion_tokens > 0, text

vectors = client.embeddings.create(model="demo", input=["one", "two"])
assert len(vectors.data) == 2 and len(vectors.data[0].embedding) > 0, vectors
assert vectors.data[0].embedding != vectors.data[1].embedding

assert "demo" in [m.id for m in client.models.list()]
assert client.models.retrieve("demo").id == "demo"

err = refused(openai.AuthenticationError, lambda: other("sk-unknown-0123456789").models.list())
assert err.status_code == 401, err
err = refused(openai.NotFoundError, lambda: client.chat.completions.create(model="missing", messages=HELLO))
assert err.code == "model_not_found", err.body
err = refused(openai.PermissionDeniedError, lambda: client.chat.completions.create(model="forbidden", messages=HELLO))
assert err.status_code == 403, err
err = refused(
    openai.RateLimitError,
    lambda: other(os.environ["LIMITED_KEY"]).chat.completions.create(model="demo", messages=HELLO),
)
assert int(err.response.headers["retry-after"]) > 0, err.response.headers
err = refused(
    openai.RateLimitError,
    lambda: other(os.environ["POOR_KEY"]).chat.completions.create(model="demo", messages=HELLO),
)
assert err.code == "budget_exceeded" and err.response.headers["x-should-retry"] == "false", err.body
err = refused(
    openai.BadRequestError,
    lambda: client.chat.completions.create(model="demo", messages=HELLO, extra_body={"api_base": "http://127.0.0.1:1/v1"}),
)
assert err.status_code == 400 and err.body["param"] == "api_base", err.body
print("ok")
