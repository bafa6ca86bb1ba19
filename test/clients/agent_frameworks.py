"""Unchanged frameworks of agents and of structured answers against one node.

instructor, OpenAI's Agents SDK, Pydantic AI and LlamaIndex. The model's provider speaks OpenAI's chat
completions: all other dialects are translated.

Usage: KEY=… python agent_frameworks.py NODE_URL
"""

import asyncio
import os
import sys

import instructor
from agents import Agent, ModelSettings, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner, function_tool, set_tracing_disabled
from anthropic import Anthropic
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel
from pydantic_ai import Agent as PydanticAgent
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel as PydanticResponsesModel
from pydantic_ai.providers.google import GoogleProvider
from pydantic_ai.providers.openai import OpenAIProvider

NODE, KEY = sys.argv[1], os.environ["KEY"]
HELLO = [{"role": "user", "content": "hello"}]


class City(BaseModel):
    """A city that a model names."""

    name: str
    people: int


def structured():
    """Have instructor make objects: of tools, of a schema, in three dialects."""
    openai = OpenAI(base_url=NODE + "/v1", api_key=KEY, max_retries=0)
    for mode in (instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA, instructor.Mode.RESPONSES_TOOLS):
        client = instructor.from_openai(openai, mode=mode)
        city = client.chat.completions.create(model="demo", messages=HELLO, response_model=City, max_retries=0)
        assert isinstance(city, City), (mode, city)
    parts = list(instructor.from_openai(openai, mode=instructor.Mode.TOOLS).chat.completions.create_partial(
        model="demo", messages=HELLO, response_model=City, max_retries=0))
    assert parts[-1].name is not None, parts
    anthropic = instructor.from_anthropic(Anthropic(base_url=NODE, api_key=KEY, max_retries=0), mode=instructor.Mode.ANTHROPIC_TOOLS)
    city = anthropic.messages.create(model="demo", messages=HELLO, response_model=City, max_tokens=64, max_retries=0)
    assert isinstance(city, City), city


@function_tool
def weather(city: str) -> str:
    """Tell the weather of a city."""
    return "sunny"


async def agents():
    """Run OpenAI's agents over chat completions and responses, whole and streamed, with a tool and with an object."""
    set_tracing_disabled(True)
    client = AsyncOpenAI(base_url=NODE + "/v1", api_key=KEY, max_retries=0)
    for model in (OpenAIChatCompletionsModel("demo", client), OpenAIResponsesModel("demo", client)):
        agent = Agent(name="a", instructions="Be short.", model=model, tools=[weather], model_settings=ModelSettings(tool_choice="required"))
        done = await Runner.run(agent, "hello")
        assert done.final_output, done
        assert any(item.type == "tool_call_output_item" for item in done.new_items), done.new_items
        run = Runner.run_streamed(agent, "hello")
        async for _ in run.stream_events():
            pass
        assert run.final_output == done.final_output, run.final_output
        city = await Runner.run(Agent(name="b", model=model, output_type=City), "hello")
        assert isinstance(city.final_output, City), city.final_output


async def pydantic():
    """Run Pydantic AI's agents in three dialects, with a text, a stream and an object."""
    openai = OpenAIProvider(base_url=NODE + "/v1", api_key=KEY)
    for model in (
        OpenAIChatModel("demo", provider=openai),
        PydanticResponsesModel("demo", provider=openai),
        GoogleModel("demo", provider=GoogleProvider(base_url=NODE, api_key=KEY)),
    ):
        said = await PydanticAgent(model).run("hello")
        assert said.output and said.usage.output_tokens > 0, (model, said)
        async with PydanticAgent(model).run_stream("hello") as stream:
            assert await stream.get_output() == said.output, model
        city = await PydanticAgent(model, output_type=City).run("hello")
        assert isinstance(city.output, City), (model, city)


def llama_index():
    """Ask as LlamaIndex does: whole, streamed, asynchronously."""
    llm = OpenAILike(model="demo", api_base=NODE + "/v1", api_key=KEY, is_chat_model=True, is_function_calling_model=True, max_retries=0, max_tokens=64)
    whole = llm.chat([ChatMessage(role="user", content="hello")])
    assert whole.message.content, whole
    assert list(llm.stream_chat([ChatMessage(role="user", content="hello")]))[-1].message.content == whole.message.content
    assert asyncio.run(llm.acomplete("hello")).text, "no completion"
    city = llm.as_structured_llm(City).chat([ChatMessage(role="user", content="hello")]).raw
    assert isinstance(city, City), city


structured()
asyncio.run(agents())
asyncio.run(pydantic())
llama_index()
print("ok")
