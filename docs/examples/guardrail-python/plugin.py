#!/usr/bin/env python3
"""A guardrail for Conclave in Python: blocks requests and answers with one of the configured words.

It needs grpcio and protobuf, and guardrail_pb2.py and guardrail_pb2_grpc.py beside it, which
grpcio-tools makes of plugins/proto/guardrail.proto (see README.md).
"""

import json
import os
import sys
from concurrent import futures

import grpc

import guardrail_pb2 as pb
import guardrail_pb2_grpc as rpc

VERSION = "0.1.0"
SDK_MINOR = 5  # of the contract that guardrail.proto had when this was written
MAX_MESSAGE = 48 << 20  # bytes from the host


class Guardrail(rpc.GuardrailServicer):
    """One configured guardrail. The host keeps one session open and asks through it."""

    def __init__(self):
        self.words = []

    def Configure(self, request, context):
        """Takes the configuration, or refuses it with INVALID_ARGUMENT."""
        try:
            config = json.loads(request.config or b"{}")
            unknown = set(config) - {"words"}
            words = config.get("words")
            if unknown:
                raise ValueError(f"unknown members: {', '.join(sorted(unknown))}")
            if not isinstance(words, list) or not words:
                raise ValueError("words: give a list of at least one")
            if not all(isinstance(w, str) and w for w in words):
                raise ValueError("words: each is a text that is not empty")
        except (ValueError, AttributeError, TypeError) as e:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(e))
        self.words = words
        return pb.GuardrailDescription(
            version=VERSION,
            hooks=[pb.HOOK_BEFORE, pb.HOOK_DURING, pb.HOOK_AFTER],
            # In bytes: what may be the beginning of a word must not leave before its end was seen.
            hold_back_bytes=max(len(w.encode()) for w in words) - 1,
            sdk_minor=SDK_MINOR,
        )

    def Session(self, messages, context):
        """Answers messages until the host ends the session."""
        streams = {}  # by the id of the conversation: the end of each channel's text
        for m in messages:
            kind = m.WhichOneof("kind")
            if kind == "open":
                streams[m.id] = {}
            elif kind == "cancel":
                streams.pop(m.id, None)
            else:
                yield pb.GuardrailMessage(id=m.id, verdict=self.answer(m, kind, streams))

    def answer(self, m, kind, streams):
        """The verdict on a message that wants one."""
        if kind == "ping":
            return passed()
        if kind == "check":
            return self.judge(t.text for t in m.check.texts)
        if kind in ("chunk", "end") and m.id not in streams:
            return pb.Verdict(error="no such stream")
        if kind == "end":
            del streams[m.id]
            return passed()
        if kind == "chunk":
            return self.chunk(streams[m.id], m.chunk.parts)
        return pb.Verdict(error="message is newer than the plugin")

    def chunk(self, tails, parts):
        """Looks for words that end in the parts, wherever they began."""
        keep = max(len(w) for w in self.words) - 1
        for part in parts:
            text = tails.get(part.channel, "") + part.text
            verdict = self.judge([text])
            if verdict.action != pb.ACTION_PASS:
                return verdict
            tails[part.channel] = text[len(text) - keep:] if 0 < keep < len(text) else text * bool(keep)
        return passed()

    def judge(self, texts):
        """Blocks if one of the texts has one of the words."""
        for text in texts:
            if any(w in text for w in self.words):
                return pb.Verdict(
                    action=pb.ACTION_BLOCK,
                    message="a word that is not allowed",  # never the word itself
                    findings=[pb.Finding(category="word", count=1)],
                )
        return passed()


def passed():
    return pb.Verdict(action=pb.ACTION_PASS)


def main():
    if os.environ.get("CONCLAVE_PLUGIN") != "c2f1a6b40a5d":
        print("This is a plugin of Conclave, which starts it itself.", file=sys.stderr)
        return 1
    if "1" not in os.environ.get("PLUGIN_PROTOCOL_VERSIONS", "").split(","):
        print("The host does not speak version 1 of the protocol.", file=sys.stderr)
        return 1
    path = os.path.join(os.environ["PLUGIN_UNIX_SOCKET_DIR"], "plugin")
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=4),
        options=[("grpc.max_receive_message_length", MAX_MESSAGE)],
    )
    rpc.add_GuardrailServicer_to_server(Guardrail(), server)
    server.add_insecure_port("unix:" + path)
    server.start()
    print(f"1|1|unix|{path}|grpc|", flush=True)
    server.wait_for_termination()
    return 0


if __name__ == "__main__":
    sys.exit(main())
