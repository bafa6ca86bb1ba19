"""Unchanged clients of Anthropic, Google, Amazon and of OpenAI's responses against one node.

The model's provider speaks OpenAI's chat completions: every exchange is translated.

Usage: KEY=… POOR_KEY=… python dialects_sdk.py NODE_URL
"""

import os
import sys

import anthropic
import boto3
import botocore
import botocore.config
import botocore.exceptions
import openai
from google import genai
from google.genai import errors, types

NODE = sys.argv[1]
KEY, POOR = os.environ["KEY"], os.environ["POOR_KEY"]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def refused(kind, call):
    """Return the error of the given class that call raises."""
    try:
        call()
    except kind as err:
        return err
    raise AssertionError(f"want {kind.__name__}, got an answer")


def anthropic_messages():
    client = anthropic.Anthropic(base_url=NODE, api_key=KEY, max_retries=0)
    hello = [{"role": "user", "content": "hello"}]
    whole = client.messages.create(model="demo", max_tokens=64, system="Be kind.", messages=hello)
    assert whole.role == "assistant" and whole.content[0].text, whole
    assert whole.stop_reason == "end_turn" and whole.usage.input_tokens > 0 and whole.usage.output_tokens > 0, whole
    with client.messages.stream(model="demo", max_tokens=64, messages=hello) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == final.content[0].text and final.usage.output_tokens > 0, final
    tools = [{"name": "get_weather", "description": "Weather.", "input_schema": SCHEMA}]
    called = client.messages.create(model="demo", max_tokens=64, messages=hello, tools=tools, tool_choice={"type": "any"})
    call = next(b for b in called.content if b.type == "tool_use")
    assert call.name == "get_weather" and isinstance(call.input, dict) and called.stop_reason == "tool_use", called
    with client.messages.stream(model="demo", max_tokens=64, messages=hello, tools=tools, tool_choice={"type": "any"}) as stream:
        streamed = stream.get_final_message()
    assert [b.name for b in streamed.content if b.type == "tool_use"] == ["get_weather"], streamed
    answered = client.messages.create(
        model="demo",
        max_tokens=64,
        tools=tools,
        messages=hello
        + [
            {"role": "assistant", "content": [call.model_dump(include={"type", "id", "name", "input"})]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}]},
        ],
    )
    assert answered.content, answered
    assert "demo" in [m.id for m in client.models.list()] and client.models.retrieve("demo").display_name == "demo"
    err = refused(anthropic.NotFoundError, lambda: client.messages.create(model="missing", max_tokens=9, messages=hello))
    assert err.body["type"] == "error" and err.body["error"]["type"] == "not_found_error", err.body
    stranger = anthropic.Anthropic(base_url=NODE, api_key="sk-nobody", max_retries=0)
    refused(anthropic.AuthenticationError, lambda: stranger.messages.create(model="demo", max_tokens=9, messages=hello))
    poor = anthropic.Anthropic(base_url=NODE, api_key=POOR, max_retries=0)
    err = refused(anthropic.RateLimitError, lambda: poor.messages.create(model="demo", max_tokens=9, messages=hello))
    assert "udget" in str(err), err


def google_generate_content(version):
    client = genai.Client(api_key=KEY, http_options=types.HttpOptions(base_url=NODE, api_version=version))
    if version == "v1beta":
        assert "models/demo" in [m.name for m in client.models.list()] and client.models.get(model="demo").name == "models/demo"
    whole = client.models.generate_content(model="demo", contents="hello")
    assert whole.text and whole.usage_metadata.total_token_count > 0, whole
    assert whole.candidates[0].finish_reason == types.FinishReason.STOP, whole
    parts = list(client.models.generate_content_stream(model="demo", contents="hello"))
    assert "".join(p.text or "" for p in parts) and parts[-1].usage_metadata.total_token_count > 0, parts
    config = types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=[types.FunctionDeclaration(name="get_weather", parameters_json_schema=SCHEMA)])],
        tool_config=types.ToolConfig(function_calling_config=types.FunctionCallingConfig(mode="ANY")),
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )
    called = client.models.generate_content(model="demo", contents="hello", config=config)
    assert [c.name for c in called.function_calls] == ["get_weather"], called
    err = refused(errors.ClientError, lambda: client.models.generate_content(model="missing", contents="hello"))
    assert err.code == 404 and err.status == "NOT_FOUND", err


def amazon_converse():
    # A bearer's token needs https with boto3, so the key goes in a header of its own.
    client = boto3.client(
        "bedrock-runtime",
        endpoint_url=NODE,
        region_name="eu-west-1",
        config=botocore.config.Config(retries={"total_max_attempts": 1}, signature_version=botocore.UNSIGNED),
    )
    client.meta.events.register("before-call.bedrock-runtime", lambda params, **_: params["headers"].update({"x-api-key": KEY}))
    hello = [{"role": "user", "content": [{"text": "hello"}]}]
    whole = client.converse(modelId="demo", messages=hello, inferenceConfig={"maxTokens": 64})
    assert whole["output"]["message"]["content"][0]["text"] and whole["usage"]["totalTokens"] > 0, whole
    events = list(client.converse_stream(modelId="demo", messages=hello)["stream"])
    text = "".join(e["contentBlockDelta"]["delta"].get("text", "") for e in events if "contentBlockDelta" in e)
    assert text and any("messageStop" in e for e in events) and "metadata" in events[-1], events
    tools = {"tools": [{"toolSpec": {"name": "get_weather", "inputSchema": {"json": SCHEMA}}}], "toolChoice": {"any": {}}}
    called = client.converse(modelId="demo", messages=hello, toolConfig=tools)
    assert called["stopReason"] == "tool_use", called
    err = refused(botocore.exceptions.ClientError, lambda: client.converse(modelId="missing", messages=hello))
    assert err.response["Error"]["Code"] == "ResourceNotFoundException", err.response


def openai_responses():
    client = openai.OpenAI(base_url=NODE + "/v1", api_key=KEY, max_retries=0)
    whole = client.responses.create(model="demo", input="hello", store=False)
    assert whole.output_text and whole.status == "completed" and whole.usage.total_tokens > 0, whole
    events = list(client.responses.create(model="demo", input="hello", store=False, stream=True))
    assert events[0].type == "response.created" and events[-1].type == "response.completed", events
    assert [e.sequence_number for e in events] == list(range(len(events))), events
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == events[-1].response.output_text
    tools = [{"type": "function", "name": "get_weather", "parameters": SCHEMA, "strict": False}]
    called = client.responses.create(model="demo", input="hello", store=False, tools=tools, tool_choice="required")
    assert [o.name for o in called.output if o.type == "function_call"] == ["get_weather"], called
    stored_chain(client)


def stored_chain(client):
    first = client.responses.create(model="demo", input="remember the heron")
    assert first.id.startswith("resp_"), first
    events = list(client.responses.create(model="demo", input="and the owl", previous_response_id=first.id, stream=True))
    second = events[-1].response
    assert second.previous_response_id == first.id and {e.response.id for e in events if hasattr(e, "response")} == {second.id}, events
    third = client.responses.create(model="demo", input="what now?", previous_response_id=second.id)
    assert third.usage.input_tokens > first.usage.input_tokens, (first, third)
    assert client.responses.retrieve(second.id).output_text == second.output_text
    listed = [i.content[0].text for i in client.responses.input_items.list(third.id, order="asc", limit=2)]
    assert listed[0] == "remember the heron" and listed[2] == "and the owl" and listed[-1] == "what now?", listed
    refused(openai.BadRequestError, lambda: client.responses.cancel(first.id))
    client.responses.delete(first.id)
    refused(openai.NotFoundError, lambda: client.responses.retrieve(first.id))
    lost = refused(openai.BadRequestError, lambda: client.responses.create(model="demo", input="x", previous_response_id=second.id))
    assert lost.code == "previous_response_not_found", lost


anthropic_messages()
google_generate_content("v1beta")
google_generate_content("v1")
amazon_converse()
openai_responses()
print("ok")
