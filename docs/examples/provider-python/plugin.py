#!/usr/bin/env python3
"""A provider for Conclave in Python: answers chat completions by repeating the last message in capital
letters, and makes embeddings of letters. Where it does so, yours asks your server of models.

It needs grpcio and protobuf, and provider_pb2.py and provider_pb2_grpc.py beside it, which
grpcio-tools makes of plugins/proto/provider.proto (see README.md).
"""

import json
import os
import sys
from concurrent import futures

import grpc

import provider_pb2 as pb
import provider_pb2_grpc as rpc

VERSION = "0.1.0"
SDK_MINOR = 8  # of the contract that provider.proto had when this was written
MAX_MESSAGE = 48 << 20  # bytes from the host
PIECE = 1 << 20  # bytes of a whole answer in one message; 8 MiB at most
ANSWERS = 32  # at the same time; more wait. One thread more is kept for the session.


class Refused(Exception):
    """An error for the client, as OpenAI's errors have it."""

    def __init__(self, message, param="", status=400, code="invalid_value"):
        super().__init__(message)
        self.error = pb.ProviderError(status=status, code=code, message=message, param=param)


class Provider(rpc.ProviderServicer):
    """One configured provider. The host calls Ask for each request, many at the same time."""

    def __init__(self):
        self.greeting = ""

    def Configure(self, request, context):
        """Takes the options and secrets of the deployments, or refuses them with INVALID_ARGUMENT."""
        try:
            config = json.loads(request.config or b"{}")
            unknown = set(config) - {"greeting", "api_key"}
            if unknown:
                raise ValueError(f"unknown options: {', '.join(sorted(unknown))}")
            if not all(isinstance(v, str) for v in config.values()):
                raise ValueError("each option is a text")
        except (ValueError, AttributeError, TypeError) as e:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(e))
        self.greeting = config.get("greeting", "")
        return pb.ProviderDescription(
            version=VERSION, sdk_minor=SDK_MINOR, endpoints=["chat", "embeddings"], models=["shout-1"]
        )

    def Session(self, messages, context):
        """Answers each sign of life that the host asks for."""
        for m in messages:
            yield pb.ProviderPong(id=m.id)

    def Ask(self, request, context):
        """Answers one request: with pieces of a whole answer, with chunks, or with an error."""
        try:
            body = json.loads(request.body)
            if not isinstance(body, dict):
                raise Refused("The request is no object.")
            if request.endpoint == "embeddings":
                yield from whole(self.embed(request, body))
            elif request.endpoint != "chat":
                raise Refused("This plugin does not serve the endpoint.", status=404, code="endpoint_not_supported")
            elif request.stream:
                yield from self.stream(request, self.words(body))
            else:
                yield from whole(self.chat(request, self.words(body)))
        except Refused as e:
            yield pb.ProviderAnswer(error=e.error)
        except (ValueError, RecursionError):
            yield pb.ProviderAnswer(error=Refused("The request is no JSON that can be read.").error)

    def words(self, body):
        """The words of the answer."""
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages:
            raise Refused("There is no message.", "messages")
        last = messages[-1]
        if not isinstance(last, dict) or not isinstance(last.get("content"), str):
            raise Refused("The messages are no texts.", "messages")
        return f"{self.greeting} {last['content'].upper()}".split()

    def chat(self, request, words):
        """A whole answer."""
        message = {"role": "assistant", "content": " ".join(words)}
        return {
            "id": request.request_id, "object": "chat.completion", "model": request.model, "usage": usage(words),
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        }

    def stream(self, request, words):
        """A word at a time, then the end, with the usage. The host that does not read holds this back."""

        def chunk(delta, finish=None, used=None):
            return pb.ProviderAnswer(chunk=json.dumps({
                "id": request.request_id, "object": "chat.completion.chunk", "model": request.model, "usage": used,
                "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
            }).encode())

        for i, word in enumerate(words):
            yield chunk({"content": " " * bool(i) + word})
        yield chunk({}, "stop", usage(words))

    def embed(self, request, body):
        """One vector of each input: how often it has each letter."""
        texts = body.get("input")
        if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
            raise Refused("The input is no list of texts.", "input")
        letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
        tokens = sum(len(t.split()) for t in texts)
        return {
            "object": "list", "model": request.model, "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
            "data": [
                {"object": "embedding", "index": i, "embedding": [t.lower().count(c) for c in letters]}
                for i, t in enumerate(texts)
            ],
        }


def usage(words):
    """What the gateway charges: every word is a token here."""
    return {"prompt_tokens": len(words), "completion_tokens": len(words), "total_tokens": 2 * len(words)}


def whole(answer):
    """The pieces of a whole answer."""
    body = json.dumps(answer).encode()
    for at in range(0, len(body), PIECE):
        yield pb.ProviderAnswer(body=body[at:at + PIECE])


def main():
    if os.environ.get("CONCLAVE_PLUGIN") != "c2f1a6b40a5d":
        print("This is a plugin of Conclave, which starts it itself.", file=sys.stderr)
        return 1
    if "1" not in os.environ.get("PLUGIN_PROTOCOL_VERSIONS", "").split(","):
        print("The host does not speak version 1 of the protocol.", file=sys.stderr)
        return 1
    path = os.path.join(os.environ["PLUGIN_UNIX_SOCKET_DIR"], "plugin")
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=ANSWERS + 1),
        options=[("grpc.max_receive_message_length", MAX_MESSAGE)],
    )
    rpc.add_ProviderServicer_to_server(Provider(), server)
    server.add_insecure_port("unix:" + path)
    server.start()
    print(f"1|1|unix|{path}|grpc|", flush=True)
    server.wait_for_termination()
    return 0


if __name__ == "__main__":
    sys.exit(main())
