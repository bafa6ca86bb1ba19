"""Unchanged LangChain, and the MCP SDK for Python, against one node.

The MCP server behind the gateway is the SDK's own, too.

Usage: KEY=… MASTER_KEY=… python frameworks.py NODE_URL
"""

import asyncio
import json
import os
import socket
import sys
import threading
import urllib.request

import anyio
import uvicorn
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from mcp import Client
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client
from mcp.server import MCPServer

NODE = sys.argv[1]
KEY, MASTER = os.environ["KEY"], os.environ["MASTER_KEY"]


@tool
def get_weather(city: str) -> str:
    """Tell the weather of a city."""
    return "sunny"


def models():
    openai = {"model": "demo", "base_url": NODE + "/v1", "api_key": KEY, "max_retries": 0, "max_tokens": 64}
    yield "chat", ChatOpenAI(**openai, use_responses_api=False, stream_usage=True)
    yield "responses", ChatOpenAI(**openai, use_responses_api=True)
    yield "messages", ChatAnthropic(model="demo", base_url=NODE, api_key=KEY, max_retries=0, max_tokens=64)


def langchain():
    for name, model in models():
        whole = model.invoke("hello")
        assert whole.text and whole.usage_metadata["total_tokens"] > 0, (name, whole)
        joined = None
        for chunk in model.stream("hello"):
            joined = chunk if joined is None else joined + chunk
        assert joined.text == whole.text and joined.usage_metadata["output_tokens"] > 0, (name, joined)
        bound = model.bind_tools([get_weather], tool_choice="any")
        asked = bound.invoke("hello")
        assert [c["name"] for c in asked.tool_calls] == ["get_weather"], (name, asked)
        said = ToolMessage("sunny", tool_call_id=asked.tool_calls[0]["id"])
        answered = model.bind_tools([get_weather]).invoke([HumanMessage("hello"), asked, said])
        assert answered.text, (name, answered)
    vectors = OpenAIEmbeddings(model="demo", base_url=NODE + "/v1", api_key=KEY, check_embedding_ctx_length=False)
    assert len(vectors.embed_documents(["a", "b"])) == 2


async def asynchronous():
    """Ask within one event loop: LangChain shares connections between models."""
    for name, model in models():
        whole = await model.ainvoke("hello")
        text = "".join([chunk.text async for chunk in model.astream("hello")])
        assert whole.text and text == whole.text, (name, whole, text)


def serve():
    """Serve a tool, and return the address."""
    server = MCPServer("remote")

    @server.tool()
    def echo(text: str) -> str:
        """Say it again."""
        return "echo: " + text

    listener = socket.create_server(("127.0.0.1", 0))
    run = uvicorn.Server(uvicorn.Config(server.streamable_http_app(), log_level="error"))
    threading.Thread(target=run.run, kwargs={"sockets": [listener]}, daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"


def admin(method, path, body):
    request = urllib.request.Request(NODE + path, json.dumps(body).encode(), {"Authorization": "Bearer " + MASTER, "Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


async def mcp():
    name = "py" + os.urandom(3).hex()
    admin("POST", "/api/v1/mcp/servers", {"name": name, "url": serve(), "transport": "http"})
    key = admin("POST", "/api/v1/keys", {"objects": {"mcp_servers": [name]}})["secret"]
    with anyio.fail_after(60):
        async with create_mcp_http_client(headers={"Authorization": "Bearer " + key}) as http:
            async with Client(streamable_http_client(NODE + "/mcp", http_client=http)) as client:
                tools = await client.list_tools()
                assert [t.name for t in tools.tools] == [name + "-echo"], tools
                said = await client.call_tool(name + "-echo", {"text": "hi"})
                assert not said.is_error and said.content[0].text == "echo: hi", said


langchain()
asyncio.run(asynchronous())
asyncio.run(mcp())
print("ok")
