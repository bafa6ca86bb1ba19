"""LangChain's standard test suites through a gateway: each of its clients with each dialect of providers.

Nothing is fetched: the suites get their files from here, and may speak to this machine alone.

Usage: NODE=… KEY=… python langchain_suites.py
"""

import base64
import os
import sys
from types import SimpleNamespace

import httpx
import pytest
from langchain_anthropic import ChatAnthropic
from langchain_google_genai import ChatGoogleGenerativeAI, GoogleGenerativeAIEmbeddings
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from langchain_tests.integration_tests import ChatModelIntegrationTests, EmbeddingsIntegrationTests

NODE, KEY = os.environ["NODE"], os.environ["KEY"]
# The gateway's models are named for the dialect of the provider behind them, which has the same models; chat is OpenAI's
# chat completions alone. Of each there is a second one, as openai-2.
UPSTREAMS = ("openai", "chat", "anthropic", "gemini", "bedrock")
# A picture of one dot, a sound without samples and a document without pages.
MEDIA = {
    ".png": base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="),
    ".wav": b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x80\x3e\0\0\2\0\x10\0data\0\0\0\0",
    ".pdf": b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n",
}
# What aimock lacks where its answers are relayed as they are, by the test.
LACKS = {
    "TestOpenAIResponses_openai": {
        "test_structured_output[pydantic]": "the response does not say its text.format",
        "test_structured_output_async[pydantic]": "the response does not say its text.format",
    },
    "TestGoogle_gemini": {
        "test_usage_metadata": "the answer has no modelVersion",
        "test_usage_metadata_streaming": "the answer has no modelVersion",
    },
    **dict.fromkeys(("TestOpenAIVectors_gemini", "TestGoogleVectors_gemini"), dict.fromkeys(
        ("test_embed_query", "test_embed_documents", "test_aembed_query", "test_aembed_documents"),
        "there is no batchEmbedContents",
    )),
}


@pytest.fixture(autouse=True)
def media(monkeypatch):
    """Give the files that the suites would fetch."""
    monkeypatch.setattr(httpx, "get", lambda url, **_: SimpleNamespace(content=MEDIA[os.path.splitext(url)[1]]))


@pytest.fixture(autouse=True)
def lacks(request):
    """Expect a test to fail for what aimock lacks, and for nothing else."""
    if reason := LACKS.get(request.cls.__name__, {}).get(request.node.name):
        request.node.add_marker(pytest.mark.xfail(strict=True, reason="aimock: " + reason))


class Chat(ChatModelIntegrationTests):
    """What all clients are asked."""

    upstream = ""
    supports_image_inputs = supports_pdf_inputs = supports_image_tool_message = True

    @property
    def supports_image_urls(self):
        return self.upstream != "bedrock"  # which fetches none

    @property
    def model_override_value(self):
        return self.upstream + "-2"

    def params(self, **more):
        return {"model": self.upstream, "api_key": KEY, "max_retries": 0, **more}


class OpenAI(Chat):
    chat_model_class = ChatOpenAI
    supports_json_mode = supports_anthropic_inputs = True
    responses = False

    @property
    def chat_model_params(self):
        return self.params(base_url=NODE + "/v1", stream_usage=True, use_responses_api=self.responses)


class OpenAIResponses(OpenAI):
    responses = True


class Anthropic(Chat):
    chat_model_class = ChatAnthropic
    supports_anthropic_inputs = supports_pdf_tool_message = True

    @property
    def chat_model_params(self):
        return self.params(base_url=NODE)


class Google(Chat):
    chat_model_class = ChatGoogleGenerativeAI
    supports_json_mode = True
    supports_image_urls = False  # the client fetches them itself
    supports_model_override = False  # nor by its own tests

    @property
    def supports_audio_inputs(self):
        return self.upstream not in ("anthropic", "bedrock")  # which hear nothing

    @property
    def chat_model_params(self):
        return self.params(base_url=NODE)


class OpenAIVectors(EmbeddingsIntegrationTests):
    embeddings_class = OpenAIEmbeddings
    upstream = ""

    @property
    def embedding_model_params(self):
        return {"model": self.upstream, "base_url": NODE + "/v1", "api_key": KEY, "check_embedding_ctx_length": False}


class GoogleVectors(EmbeddingsIntegrationTests):
    embeddings_class = GoogleGenerativeAIEmbeddings
    upstream = ""

    @property
    def embedding_model_params(self):
        return {"model": self.upstream, "base_url": NODE, "google_api_key": KEY}


def each(suites, upstreams):
    """Make a class of tests of each suite and upstream."""
    for suite in suites:
        for upstream in upstreams:
            name = f"Test{suite.__name__}_{upstream}"
            globals()[name] = type(name, (suite,), {"upstream": upstream})


each((OpenAI, OpenAIResponses, Anthropic, Google), UPSTREAMS)
each((OpenAIVectors, GoogleVectors), ("openai", "gemini"))

if __name__ == "__main__":
    loops = ("mode=auto", "default_test_loop_scope=session", "default_fixture_loop_scope=session")  # the clients share connections
    sys.exit(pytest.main([
        __file__, "-q", "--tb=short", "--disable-warnings", "-rfExX", "-p", "no:cacheprovider", "-n", "2", "--dist", "loadscope", "--timeout", "60",
        "--disable-socket", "--allow-hosts", "127.0.0.1", "--allow-unix-socket", *(a for o in loops for a in ("-o", "asyncio_" + o)), *sys.argv[1:],
    ]))
