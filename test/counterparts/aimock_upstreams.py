"""OpenAI's own client against a gateway whose provider is aimock, in each dialect that it speaks.

The journal of aimock shows that the gateway has asked in that dialect.

Usage: KEY=… python aimock_upstreams.py NODE_URL AIMOCK_URL
"""

import json
import os
import sys
import urllib.request

import openai

NODE, MOCK = sys.argv[1], sys.argv[2]
SAYS = "Hello, what you ask is answered."
HELLO = [{"role": "user", "content": "hello"}]
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]
# Where each model's provider is asked, whole and streamed.
PATHS = {
    "openai": ("/v1/chat/completions",) * 2,
    "anthropic": ("/v1/messages",) * 2,
    "gemini": ("/v1beta/models/gemini:generateContent", "/v1beta/models/gemini:streamGenerateContent"),
    "bedrock": ("/model/bedrock/converse", "/model/bedrock/converse-stream"),
    "azure": ("/openai/deployments/azure/chat/completions",) * 2,
    "ollama": ("/api/chat",) * 2,
    "cohere": ("/v2/chat",) * 2,
}
client = openai.OpenAI(base_url=NODE + "/v1", api_key=os.environ["KEY"], max_retries=0)


def asked():
    """Return the paths at which aimock was asked since the last look."""
    with urllib.request.urlopen(MOCK + "/__aimock/journal") as answer:
        paths = [entry["path"].partition("?")[0] for entry in json.load(answer)]
    new, asked.seen = paths[asked.seen:], len(paths)
    return new


asked.seen = 0


def streamed(**request):
    """Return the text, the calls by their place, the reason and the usage of a stream."""
    text, calls, reason, usage = "", {}, None, None
    for chunk in client.chat.completions.create(**request, stream=True, stream_options={"include_usage": True}):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            reason = choice.finish_reason or reason
            for call in choice.delta.tool_calls or []:
                name, arguments = calls.get(call.index, ("", ""))
                calls[call.index] = (name + (call.function.name or ""), arguments + (call.function.arguments or ""))
    return text, calls, reason, usage


def chats():
    for model, (whole_at, stream_at) in PATHS.items():
        def counted(usage):
            if model == "ollama":  # aimock counts nothing there: the gateway estimates
                return usage.prompt_tokens > 0 and usage.completion_tokens > 0
            return (usage.prompt_tokens, usage.completion_tokens) == (5, 7)
        answer = client.chat.completions.create(model=model, messages=HELLO)
        assert answer.choices[0].message.content == SAYS and answer.choices[0].finish_reason == "stop", answer
        assert counted(answer.usage), answer
        called = client.chat.completions.create(model=model, messages=HELLO, tools=TOOLS).choices[0]
        call = called.message.tool_calls[0]
        assert call.function.name == "get_weather" and json.loads(call.function.arguments) == {"city": "Paris"}, called
        assert called.finish_reason == "tool_calls" and call.id, called
        after = [*HELLO, called.message, {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
        assert client.chat.completions.create(model=model, messages=after, tools=TOOLS).choices[0].message.content == SAYS
        assert asked() == [whole_at] * 3, model
        text, calls, reason, usage = streamed(model=model, messages=HELLO)
        assert (text, calls, reason) == (SAYS, {}, "stop") and counted(usage), (model, text, calls, reason, usage)
        text, calls, reason, _ = streamed(model=model, messages=HELLO, tools=TOOLS)
        assert text == "" and calls[0][0] == "get_weather" and json.loads(calls[0][1]) == {"city": "Paris"}, (model, text, calls)
        assert reason == "tool_calls", (model, reason)
        assert asked() == [stream_at] * 2, model


def others():
    """Ask for what is no conversation."""
    for model, at in {"openai": "/v1/embeddings", "azure": "/openai/deployments/azure/embeddings", "cohere": "/v2/embed"}.items():
        vectors = client.embeddings.create(model=model, input=["a", "b"]).data
        assert len(vectors) == 2 and len(vectors[0].embedding) == len(vectors[1].embedding) > 100, vectors
        assert vectors[0].embedding != vectors[1].embedding and asked() == [at], model
    image = client.images.generate(model="openai", prompt="a cat").data[0]
    assert (image.b64_json, image.revised_prompt) == ("aW1hZ2U=", "a cat"), image
    assert client.audio.speech.create(model="openai", input="hello", voice="alloy").read() == b"a sound"
    sound = ("a.mp3", b"a sound")
    for verb in (client.audio.transcriptions, client.audio.translations):
        assert verb.create(model="openai", file=sound).text == "what was said", verb
    for text, flagged in (("I hate you", True), ("all is well", False)):
        result = client.moderations.create(model="openai", input=text).results[0]
        assert result.flagged == result.categories.hate == flagged and (result.category_scores.hate > 0.5) == flagged, result
    ranked = client.post("/rerank", body={"model": "cohere", "query": "q", "documents": ["a", "b"]}, cast_to=object)["results"]
    assert [r["index"] for r in ranked] == [1, 0], ranked
    want = ["/v1/images/generations", "/v1/audio/speech", "/v1/audio/transcriptions", "/v1/audio/translations", "/v1/moderations", "/v1/moderations", "/v2/rerank"]
    assert asked() == want


def realtime():
    """Speak over a WebSocket."""
    with client.realtime.connect(model="openai") as session:
        session.session.update(session={"type": "realtime", "output_modalities": ["text"]})
        session.conversation.item.create(item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]})
        session.response.create()
        said = ""
        for event in session:
            assert event.type != "error", event
            if event.type == "response.output_text.delta":
                said += event.delta
            if event.type == "response.done":
                break
    assert said == SAYS and event.response.status == "completed", (said, event)


chats()
others()
realtime()
print("ok")
